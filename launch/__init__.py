"""How any server is started, found ready, limited and ended; nothing else starts or ends servers."""
