//! What this host's cgroups can limit, as a plain record for `/info` and for warnings at create.

pub use types::host::Capabilities;
