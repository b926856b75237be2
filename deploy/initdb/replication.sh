#!/bin/sh
# Run once, when the database is made: lets the backup service, in its own container, copy the whole server
# (residency-backup create full). The image itself allows that to the database's own container only.
echo "host replication all samenet scram-sha-256" >> "$PGDATA/pg_hba.conf"
