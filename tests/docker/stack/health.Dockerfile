# What stands for an image that cannot be had: it answers the health check, and does nothing else.
ARG FILES
FROM ${FILES}
RUN printf '%s\n' '#!/usr/bin/python3' 'import sys, urllib.request' 'urllib.request.urlopen(sys.argv[-1], timeout=4)' \
    > /usr/local/bin/wget && chmod 755 /usr/local/bin/wget && mkdir -p /srv/api && echo ok > /srv/api/health
WORKDIR /srv
CMD ["python3", "-m", "http.server", "3000"]
