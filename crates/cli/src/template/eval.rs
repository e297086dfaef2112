//! Carrying out a tree.

use super::parse::{Node, Pipeline, Term};
use super::value::Value;
use super::{Error, Mode, functions};

/// Methods of the top value that take arguments, such as `.Label "name"`.
pub(crate) type Methods<'a> = dyn Fn(&str, &[Value]) -> Option<Value> + 'a;

/// How a list of nodes ended.
enum Flow {
    On,
    Break,
    Continue,
}

struct Walk<'a> {
    out: String,
    variables: Vec<(String, Value)>,
    methods: Option<&'a Methods<'a>>,
    mode: Mode,
}

/// What an omitted optional field of Docker's structs is to Go: there, and nil.
const OPTIONAL: &[&str] = &[
    "Health",
    "Healthcheck",
    "SizeRw",
    "SizeRootFs",
    "ExposedPorts",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Mounts",
    "Annotations",
    "StorageOpt",
    "Tmpfs",
    "Sysctls",
    "Init",
    "ArgsEscaped",
    "UsageData",
    "Status",
    "CreatedAt",
    "Peers",
    "Services",
    "ImageManifestDescriptor",
    "Descriptor",
    "Variant",
    "OsVersion",
    "Entrypoint",
    "Cmd",
    "Env",
    "Labels",
    "Volumes",
    "WorkingDir",
    "User",
    "OnBuild",
    "Name",
    "Driver",
    "BindOptions",
    "VolumeOptions",
    "TmpfsOptions",
    "ReadOnly",
    "Warnings",
    "Parent",
    "id",
    "from",
    "status",
    "ProductLicense",
    "DefaultAddressPools",
    "FirewallBackend",
];

/// Fields that are lists to Go, and so show as `[]` when they are nil.
const LISTS: &[&str] = &[
    "Entrypoint",
    "Cmd",
    "Env",
    "OnBuild",
    "Binds",
    "VolumesFrom",
    "CapAdd",
    "CapDrop",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "SecurityOpt",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Ulimits",
    "MaskedPaths",
    "ReadonlyPaths",
    "ExecIDs",
    "Aliases",
    "DNSNames",
    "Shell",
    "Mounts",
    "Warnings",
    "Mirrors",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "Args",
    "RepoTags",
    "RepoDigests",
];

/// Fields that are maps to Go, and so show as `map[]` when they are nil.
const MAPS: &[&str] = &[
    "Volumes",
    "Labels",
    "Options",
    "ExposedPorts",
    "PortBindings",
    "Ports",
    "DriverOpts",
    "Annotations",
    "StorageOpt",
    "Tmpfs",
    "Sysctls",
    "Networks",
    "Containers",
    "Data",
];

/// What Go shows for a nil field, which depends on its type.
fn nil(command: &[Term]) -> &'static str {
    match command {
        [Term::Fields(path) | Term::Variable(_, path) | Term::Group(_, path)] => {
            match path.last().map(String::as_str) {
                Some(name) if LISTS.contains(&name) => "[]",
                Some(name) if MAPS.contains(&name) => "map[]",
                _ => "<nil>",
            }
        }
        _ => "<no value>",
    }
}

pub(super) fn execute(
    nodes: &[Node],
    data: &Value,
    methods: Option<&Methods<'_>>,
    mode: Mode,
) -> Result<String, Error> {
    let mut walk =
        Walk { out: String::new(), variables: vec![(String::new(), data.clone())], methods, mode };
    walk.nodes(nodes, data)?;
    Ok(walk.out)
}

impl Walk<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Error> {
        let outer = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if !matches!(flow, Flow::On) {
                self.variables.truncate(outer);
                return Ok(flow);
            }
        }
        self.variables.truncate(outer);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Show(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    match (&value, pipeline.commands.as_slice()) {
                        (Value::Null, [command]) => self.out.push_str(nil(command)),
                        _ => self.out.push_str(&value.show()),
                    }
                }
            }
            Node::If(condition, then, otherwise) => {
                let outer = self.variables.len();
                let truth = self.pipeline(condition, dot)?.truth();
                let flow = self.nodes(if truth { then } else { otherwise }, dot)?;
                self.variables.truncate(outer);
                return Ok(flow);
            }
            Node::With(condition, then, otherwise) => {
                let outer = self.variables.len();
                let value = self.pipeline(condition, dot)?;
                let flow = if value.truth() {
                    self.nodes(then, &value)?
                } else {
                    self.nodes(otherwise, dot)?
                };
                self.variables.truncate(outer);
                return Ok(flow);
            }
            Node::Range(over, body, otherwise) => {
                let outer = self.variables.len();
                let flow = self.range(over, body, otherwise, dot);
                self.variables.truncate(outer);
                return flow;
            }
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Error> {
        let items: Vec<(Value, Value)> = match self.commands(over, dot)? {
            Value::Null => Vec::new(),
            Value::List(items) => {
                let number = |at| Value::from(i64::try_from(at).unwrap_or(i64::MAX));
                items.into_iter().enumerate().map(|(at, item)| (number(at), item)).collect()
            }
            Value::Map(mut entries) => {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Number(super::Number::Int(n)) => {
                (0..n).map(|i| (Value::from(i), Value::from(i))).collect()
            }
            other => return Err(Error::Call(format!("range can't iterate over {}", other.show()))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let outer = self.variables.len();
        for (key, item) in items {
            match over.variables.as_slice() {
                [] => {}
                [value] => self.variables.push((value.clone(), item.clone())),
                [index, value, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((value.clone(), item.clone()));
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(outer);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Error> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            if pipeline.declare {
                self.variables.push((name.clone(), value.clone()));
            } else if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                slot.1 = value.clone();
            } else {
                return Err(Error::Call(format!("undefined variable: ${name}")));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Error> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn command(
        &mut self,
        terms: &[Term],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Error> {
        let Some((first, rest)) = terms.split_first() else { return Ok(Value::Null) };
        match first {
            Term::Function(name) => {
                // `and` and `or` look at no more operands than they must.
                if name == "and" || name == "or" {
                    return self.short_circuit(name == "or", rest, piped, dot);
                }
                let mut args = self.terms(rest, dot)?;
                args.extend(piped);
                functions::call(name, &args, self.mode)
            }
            Term::Fields(path) if !rest.is_empty() || piped.is_some() => {
                let mut args = self.terms(rest, dot)?;
                args.extend(piped);
                let name = path.join(".");
                let method = self.methods.and_then(|methods| methods(&name, &args));
                method.ok_or_else(|| {
                    Error::Call(format!("{name} has arguments but cannot be invoked as function"))
                })
            }
            _ if !rest.is_empty() || piped.is_some() => {
                Err(Error::Call("can't give argument to non-function".to_owned()))
            }
            _ => self.term(first, dot),
        }
    }

    fn short_circuit(
        &mut self,
        stop_at: bool,
        terms: &[Term],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Error> {
        let mut value = Value::Null;
        for term in terms {
            value = self.term(term, dot)?;
            if value.truth() == stop_at {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }

    fn terms(&mut self, terms: &[Term], dot: &Value) -> Result<Vec<Value>, Error> {
        terms.iter().map(|term| self.term(term, dot)).collect()
    }

    fn term(&mut self, term: &Term, dot: &Value) -> Result<Value, Error> {
        match term {
            Term::Constant(value) => Ok(value.clone()),
            Term::Function(name) => functions::call(name, &[], self.mode),
            Term::Fields(path) => self.fields(dot, path),
            Term::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| Error::Call(format!("undefined variable: ${name}")))?;
                self.fields(&value, path)
            }
            Term::Group(pipeline, path) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(&value, path)
            }
        }
    }

    fn fields(&self, from: &Value, path: &[String]) -> Result<Value, Error> {
        let mut value = from;
        for name in path {
            match value {
                Value::Map(_) => match value.get(name) {
                    Some(inner) => value = inner,
                    None if OPTIONAL.contains(&name.as_str()) => return Ok(Value::Null),
                    None => {
                        if let Some(made) = self.methods.and_then(|methods| methods(name, &[])) {
                            return Ok(made);
                        }
                        return Err(Error::Field(name.clone()));
                    }
                },
                Value::Null => {
                    return Err(Error::Call(format!("nil pointer evaluating .{name}")));
                }
                other => {
                    let shown = other.show();
                    return Err(Error::Call(format!("can't evaluate field {name} in {shown}")));
                }
            }
        }
        Ok(value.clone())
    }
}
