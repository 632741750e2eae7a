-- Roles with the passwords of the environment, and their databases. May be run again: what is there stays, passwords follow.
set client_min_messages = warning;

\getenv qpipe QPIPE_PASSWORD
\getenv dagster DAGSTER_PASSWORD
\getenv registry REGISTRY_PASSWORD
\getenv exporter EXPORTER_PASSWORD

select format('create role %I login', name)
from unnest(array['qpipe', 'dagster', 'registry', 'exporter']) as name
where not exists (select from pg_roles where rolname = name) \gexec

alter role qpipe password :'qpipe';
alter role dagster password :'dagster';
alter role registry password :'registry';
alter role exporter password :'exporter';
grant pg_monitor to exporter;

select format('create database %I owner %I', name, name)
from unnest(array['qpipe', 'dagster', 'registry']) as name
where not exists (select from pg_database where datname = name) \gexec

-- Each database for its own role alone.
select format('revoke connect on database %I from public', name)
from unnest(array['qpipe', 'dagster', 'registry']) as name \gexec
