# Debian's Postgres behaving as the official image does, as far as docker-compose.yml asks.
ARG FILES
FROM ${FILES}
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres && \
    install -d -o postgres -g postgres -m 2775 /var/run/postgresql && \
    install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
COPY postgres-entry.sh /usr/local/bin/
RUN chmod 755 /usr/local/bin/postgres-entry.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["postgres-entry.sh"]
