drop table audit.verifications;
