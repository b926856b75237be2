"""The file format: plain SQL in segments, its codecs, its scanner and its manifest. No server, no catalog."""
