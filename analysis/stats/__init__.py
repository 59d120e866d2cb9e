"""Statistics: pure functions of numbers and arrays. Nothing here reads, prints or knows telemetry."""
