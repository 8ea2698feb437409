"""HTTP/1.1 towards the servers behind the adapter: kept connections, pools of replicas, server-sent events."""
