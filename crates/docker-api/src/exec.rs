//! Exec: a further process in a running container.

api_json! {
/// Body of `POST /containers/{id}/exec`.
pub struct ExecCreateBody {
    pub user: String,
    pub privileged: bool,
    pub tty: bool,
    /// Rows, columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    pub attach_stdin: bool,
    pub attach_stderr: bool,
    pub attach_stdout: bool,
    /// Old clients send it here as well as to the start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
    /// docker-py writes it with a small letter, which Go reads all the same.
    #[serde(alias = "detachKeys")]
    pub detach_keys: String,
    #[serde(serialize_with = "types::empty_null")]
    pub env: Vec<String>,
    pub working_dir: String,
    pub cmd: types::Words,
}

/// Body of `POST /exec/{id}/start`.
pub struct ExecStartBody {
    pub detach: bool,
    pub tty: bool,
    /// Rows, columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// `GET /exec/{id}/json`.
pub struct ExecInspect {
    #[serde(rename = "ID")]
    pub id: String,
    pub running: bool,
    /// `null` until it has ended.
    pub exit_code: Option<i32>,
    pub process_config: ProcessConfig,
    pub open_stdin: bool,
    pub open_stderr: bool,
    pub open_stdout: bool,
    pub can_remove: bool,
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    pub detach_keys: String,
    /// On the host; 0 before the start.
    pub pid: i32,
}
}

api_json_verbatim! {
/// The process of an exec.
pub struct ProcessConfig {
    pub tty: bool,
    pub entrypoint: String,
    pub arguments: Vec<String>,
    pub privileged: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
}
