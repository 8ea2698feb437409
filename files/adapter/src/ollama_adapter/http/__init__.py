"""HTTP/1.1 towards the clients: heads, bodies, limits, guards, connections, and the exchange that handlers see."""
