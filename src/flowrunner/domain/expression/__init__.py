"""Values in a flow that are filled in when a node runs: `${nodes.fetch.result.body.id}`.

An expression is JavaScript. Plain paths, names joined by `.name`, `[0]` and `["key"]`, and literals
are evaluated here, and give what JavaScript would; everything else is `Code`, whose values come from
a sandbox before the template is rendered.
"""

from flowrunner.domain.expression.javascript_values import is_true, text_of
from flowrunner.domain.expression.reading import (
    OUTPUT_NAMES,
    PARAMETER_NAMES,
    CodeKind,
    ExpressionSyntax,
    Keys,
    UnknownName,
    compile_template,
    compile_text,
    parse_expression,
)
from flowrunner.domain.expression.templates import (
    MAX_RENDERED,
    NO_VALUES,
    NOWHERE,
    Code,
    CodePlace,
    Condition,
    Constant,
    ExpressionFailed,
    Literal,
    MapOf,
    Path,
    Template,
    Text,
    TooMuchFilledIn,
    Value,
    Values,
    codes_of,
    expressions_of,
    render,
    shown,
    value_of,
)

__all__ = [
    "MAX_RENDERED",
    "NOWHERE",
    "NO_VALUES",
    "OUTPUT_NAMES",
    "PARAMETER_NAMES",
    "Code",
    "CodeKind",
    "CodePlace",
    "Condition",
    "Constant",
    "ExpressionFailed",
    "ExpressionSyntax",
    "Keys",
    "Literal",
    "MapOf",
    "Path",
    "Template",
    "Text",
    "TooMuchFilledIn",
    "UnknownName",
    "Value",
    "Values",
    "codes_of",
    "compile_template",
    "compile_text",
    "expressions_of",
    "is_true",
    "parse_expression",
    "render",
    "shown",
    "text_of",
    "value_of",
]
