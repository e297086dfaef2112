//! Docker's default seccomp profile and profile files, resolved to an OCI `LinuxSeccomp`.
