"""The warden: records what becomes of every process, and starts again what fell."""
