"""What `autostack up` starts on one machine: PostgreSQL, Valkey and the Procfile's processes."""
