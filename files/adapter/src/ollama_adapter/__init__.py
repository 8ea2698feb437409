"""The Ollama API in front of vLLM.

In reading order:

settings                 the configuration file and the environment, checked
names, catalogue         what a model name means, and which upstream serves it
go_json, go_decode       request bodies, read with the rules and the error texts of Ollama's decoder
requests, options        a decoded body as a typed request; the sampling options
to_vllm                  a typed request as a body for vLLM
sse, frames, answers     vLLM's answer, and the lines of an Ollama answer made of it
http_head, http_body     requests on the wire: bytes in, requests out
server, upstream         the two sides of the network: callbacks, no task per request
routes, generation,      what is done with a request
  listing, passing, ready
service, systemd         life cycle: sockets, readiness, watchdog, drain
"""

from __future__ import annotations

__version__ = "0.1.0"
