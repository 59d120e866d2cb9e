"""One file a view: a frozen section and one `assess(telemetry, policy)`."""
