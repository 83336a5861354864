# Stands in for the official image postgres:15-bookworm in tests, which pull no image: Debian's Postgres
# behind the variables that the image documents.
FROM debian:bookworm-slim
ARG APT_SOURCES
RUN groupadd --gid 999 postgres \
	&& useradd --uid 999 --gid postgres --home-dir /var/lib/postgresql postgres \
	&& mkdir -p /etc/postgresql-common/createcluster.d \
	&& echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/image.conf \
	&& printf '%s\n' "$APT_SOURCES" >/etc/apt/sources.list \
	&& apt-get -q update \
	&& DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends postgresql-15 \
	&& mkdir -p /var/lib/postgresql/data /run/postgresql \
	&& chown postgres: /var/lib/postgresql /var/lib/postgresql/data /run/postgresql \
	&& chmod 1777 /var/lib/postgresql/data \
	&& chmod 3777 /run/postgresql
COPY entrypoint.sh /usr/local/bin/
ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/postgresql/15/bin LANG=C.UTF-8 \
	PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["entrypoint.sh"]
