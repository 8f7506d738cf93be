"""The local stack: embedded Postgres and Redis, who owns them, and the supervisor that runs every process."""
