-- Distributes the analytics database over a Citus cluster, once its schema stands:
--   alembic -n analytics upgrade head && psql -f ops/citus.sql "$ANALYTICS_DATABASE_URL"
-- No code changes with it. What belongs to a person goes by person (`actor`); all such tables
-- lie together, so that one event's insert and presence touch one shard. Counts hold no person
-- and stay on the coordinator, as do tombstones, keys and bookkeeping.

CREATE EXTENSION IF NOT EXISTS citus;

SELECT create_distributed_table('events', 'actor');
SELECT create_distributed_table('presence', 'actor', colocate_with => 'events');

-- Local tables that are read together with distributed ones are made known to Citus; its
-- coordinator must be among the nodes (citus_set_coordinator_host).
SELECT citus_add_local_table_to_metadata(name::regclass)
FROM unnest(ARRAY['counts', 'counts_day', 'tombstones', 'erasures', 'bookkeeping']) AS name;
