"""The process: sockets from systemd, several processes on one port, peers, log and metrics."""
