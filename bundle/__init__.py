"""The bundle: one directory with everything that the hosts of an inventory fetch, for a site without a network.

needs         what the hosts' settings ask for: packages, wheels, archives, models
apt           the distribution's and the vendors' packages: signed indexes as they are, and the packages that a host can need
python_index  wheels of the locks; interpreters: builds for hosts whose own Python is too old
hub, ollama   models, and Ollama itself
fetching      downloads that go on where they stopped, checked before they count
manifest      what belongs to a bundle, with sizes and sha256
making        all of that in order
server        the finished bundle over HTTP, as the settings of `mirrors` expect it

Nothing here runs on a host; a host sees mirrors.
"""
