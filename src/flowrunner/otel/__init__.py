"""Traces, metrics and logs for an OpenTelemetry collector. It is imported only if the setting `otel` is on."""
