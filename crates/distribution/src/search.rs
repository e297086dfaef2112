/// One image that an index knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SearchHit {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// How many people like it.
    pub star_count: u64,
    /// One of Docker's own.
    pub is_official: bool,
    /// Built by the index; no longer offered anywhere.
    pub is_automated: bool,
}
