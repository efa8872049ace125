"""Print the OpenAPI document, of which the types of the interface are made."""

import json
import sys

from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.server import ROUTERS

routes = [route for router in ROUTERS for route in router.routes]
json.dump(openapi_document(routes), sys.stdout)
