"""What the reader sees: tables and figures."""
