//! Contexts, and the requests that bring them.

use testkit::engine::{VERSION, encode};
use testkit::http::Response;
use testkit::{Engine, Value};

/// A context in the making: a tar.
pub(crate) struct Context {
    time: u64,
    files: Vec<(String, Vec<u8>, Option<String>)>,
}

impl Context {
    pub(crate) fn new() -> Self {
        Self { time: 1_600_000_000, files: Vec::new() }
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.raw(path, text.as_bytes())
    }

    pub(crate) fn raw(mut self, path: &str, bytes: &[u8]) -> Self {
        self.files.push((path.to_owned(), bytes.to_vec(), None));
        self
    }

    pub(crate) fn link(mut self, path: &str, target: &str) -> Self {
        self.files.push((path.to_owned(), Vec::new(), Some(target.to_owned())));
        self
    }

    /// The same, written later.
    pub(crate) fn later(mut self) -> Self {
        self.time += 1000;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes, link) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(self.time);
            header.set_size(bytes.len() as u64);
            match link {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                None => tar.append_data(&mut header, path, &bytes[..]).unwrap(),
            }
        }
        tar.into_inner().unwrap()
    }
}

/// A request.
pub(crate) struct Build<'a> {
    engine: &'a Engine,
    body: Vec<u8>,
    query: String,
}

/// What came of it.
pub(crate) struct Built(Vec<Value>);

impl<'a> Build<'a> {
    pub(crate) fn of(engine: &'a Engine, context: &Context) -> Self {
        Self { engine, body: context.bytes(), query: "rm=1&networkmode=none".to_owned() }
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push_str(&format!("&{name}={}", encode(value)));
        self
    }

    /// The context ends with its last file's content: no padding, no end marker.
    pub(crate) fn unpadded(mut self) -> Self {
        let end = self.body.iter().rposition(|byte| *byte != 0).unwrap();
        self.body.truncate(end + 1);
        self
    }

    pub(crate) fn tag(self, tag: &str) -> Self {
        self.query("t", tag)
    }

    pub(crate) fn path(&self) -> String {
        format!("{VERSION}/build?{}", self.query)
    }

    #[track_caller]
    pub(crate) fn answer(&self) -> Response {
        let headers = [("Content-Type", "application/x-tar")];
        self.engine.client().request("POST", &self.path(), &headers, &self.body)
    }

    #[track_caller]
    fn lines(&self) -> Vec<Value> {
        let answer = self.answer().expect(200);
        let text = answer.text();
        let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        values.map(|value| value.unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn done(&self) -> Built {
        let lines = self.lines();
        if let Some(error) = lines.iter().find(|line| !line["error"].is_null()) {
            panic!("{error}\n{}", Built(lines.clone()).text());
        }
        Built(lines)
    }

    /// The status and the words of a build that must fail while it runs.
    #[track_caller]
    pub(crate) fn failed(&self) -> (i64, String) {
        let lines = self.lines();
        let last = lines.last().unwrap();
        let detail = &last["errorDetail"];
        let message = detail["message"].as_str().unwrap_or_else(|| panic!("{lines:?}"));
        assert_eq!(last["error"], message);
        (detail["code"].as_i64().unwrap_or(0), message.to_owned())
    }
}

impl Built {
    /// Everything that is to be printed.
    pub(crate) fn text(&self) -> String {
        self.0.iter().filter_map(|line| line["stream"].as_str()).collect()
    }

    /// The events of our own stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.0.iter().map(|line| line["aux"].clone()).filter(|aux| !aux.is_null()).collect()
    }

    #[track_caller]
    pub(crate) fn id(&self) -> String {
        let find = |aux: &Value| Some(aux["ID"].as_str().or(aux["id"].as_str())?.to_owned());
        self.events().iter().rev().find_map(find).expect("an image")
    }
}

/// How many steps were known.
pub(crate) fn caches(text: &str) -> usize {
    text.matches(" ---> Using cache").count()
}
