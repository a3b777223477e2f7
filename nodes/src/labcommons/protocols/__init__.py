"""Protocol documents, capability manifests, compile, guards and plans."""
