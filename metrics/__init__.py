"""What operators see: Prometheus instruments and log lines."""
