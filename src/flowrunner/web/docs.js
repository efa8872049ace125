// Requests that are tried out carry the session of the browser, as those of the interface do.
SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  displayRequestDuration: true,
  tryItOutEnabled: false,
  validatorUrl: null,
});
