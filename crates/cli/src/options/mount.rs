//! Mounts: the long form (`--mount`) and the short one (`--volume`).

use types::mount::{
    BindOptions, DriverConfig, ImageOptions, Mount, MountKind, TmpfsOptions, VolumeOptions,
};

/// Makes a path that begins with a dot absolute.
fn absolute(path: &str) -> String {
    if path == "." || path == ".." || path.starts_with("./") || path.starts_with("../") {
        let here = std::env::current_dir().unwrap_or_default();
        return clean(&here.join(path).to_string_lossy());
    }
    path.to_owned()
}

/// Go's `filepath.Clean` of an absolute path.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

/// What a `--volume` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    /// A path of the container that gets an anonymous volume.
    Anonymous(String),
    /// `source:target[:options]`.
    Bind(String),
}

/// `target`, `source:target` or `source:target:options`.
pub(crate) fn volume(text: &str) -> Result<Volume, String> {
    let Some((source, rest)) = text.split_once(':') else {
        return if text.is_empty() {
            Err("invalid empty volume spec".to_owned())
        } else {
            Ok(Volume::Anonymous(text.to_owned()))
        };
    };
    if source.is_empty() && rest.is_empty() {
        // The daemon knows what to say about it.
        return Ok(Volume::Anonymous(text.to_owned()));
    }
    if source.is_empty() {
        return Err(format!("invalid volume specification: {text}"));
    }
    Ok(Volume::Bind(format!("{}:{rest}", absolute(source))))
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None => Ok(true),
        Some(value) => {
            crate::globals::truth(value).ok_or_else(|| format!("invalid value for {key}: {value}"))
        }
    }
}

fn octal(value: &str) -> Result<u32, String> {
    u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for tmpfs-mode: {value}"))
}

/// `type=bind,source=…,target=…,…`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: MountKind::Volume, ..Mount::default() };
    for field in super::words::csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        set(&mut mount, &key, value, &field)?;
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    agrees(&mount)?;
    if mount.kind == MountKind::Bind {
        mount.source = absolute(&mount.source);
    }
    Ok(mount)
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    let bind = |mount: &mut Mount, change: fn(&mut BindOptions)| {
        change(mount.bind_options.get_or_insert_default());
    };
    match key {
        "readonly" | "ro" => {
            mount.read_only = boolean(key, value)?;
            return Ok(());
        }
        "volume-nocopy" => {
            volume_options(mount).no_copy = boolean(key, value)?;
            return Ok(());
        }
        "bind-create-src" => {
            mount.bind_options.get_or_insert_default().create_mountpoint = boolean(key, value)?;
            return Ok(());
        }
        "idmap" => {
            mount.bind_options.get_or_insert_default().id_map = Some(boolean(key, value)?);
            return Ok(());
        }
        "bind-nonrecursive" => {
            mount.bind_options.get_or_insert_default().non_recursive = boolean(key, value)?;
            return Ok(());
        }
        _ => {}
    }
    let value = value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
    let pair = || {
        let (key, value) = value.split_once('=').unwrap_or((value, ""));
        (key.to_owned(), value.to_owned())
    };
    match key {
        "type" => mount.kind = kind(value)?,
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => {
            mount.bind_options.get_or_insert_default().propagation = value.to_lowercase();
        }
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount, |options| options.non_recursive = true),
            "writable" => bind(mount, |options| options.read_only_non_recursive = true),
            "readonly" => bind(mount, |options| options.read_only_force_recursive = true),
            _ => {
                return Err(format!(
                    "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-subpath" => {
            volume_options(mount).subpath = value.to_owned();
        }
        "volume-label" => {
            let (key, value) = pair();
            volume_options(mount).labels.insert(key, value);
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            let (key, value) = pair();
            driver(mount).options.insert(key, value);
        }
        "image-subpath" => {
            mount.image_options = Some(ImageOptions { subpath: value.to_owned() });
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes = super::size::bytes(value)
                .map_err(|_| format!("invalid value for tmpfs-size: {value}"))?
        }
        "tmpfs-mode" => tmpfs(mount).mode = Some(octal(value)?),
        "tmpfs-opt" | "tmpfs-options" => {
            tmpfs(mount).options.push(value.split('=').map(str::to_owned).collect());
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// Docker's client always sends a driver with the options, if an empty one.
fn volume_options(mount: &mut Mount) -> &mut VolumeOptions {
    let options = mount.volume_options.get_or_insert_default();
    options.driver_config.get_or_insert_default();
    options
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume_options(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn kind(word: &str) -> Result<MountKind, String> {
    Ok(match word.to_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        "npipe" => MountKind::Npipe,
        "cluster" => MountKind::Cluster,
        other => return Err(format!("invalid mount type '{other}'")),
    })
}

/// Options of one kind with a mount of another.
fn agrees(mount: &Mount) -> Result<(), String> {
    let kind = mount.kind.as_str();
    let refuse = |options: &str, with: &str| {
        Err(format!("cannot mix '{options}-*' options with mount type '{with}'"))
    };
    if mount.volume_options.is_some() && mount.kind != MountKind::Volume {
        return refuse("volume", kind);
    }
    if mount.image_options.is_some() && mount.kind != MountKind::Image {
        return refuse("image", kind);
    }
    if mount.bind_options.is_some() && mount.kind != MountKind::Bind {
        return refuse("bind", kind);
    }
    if mount.tmpfs_options.is_some() && mount.kind != MountKind::Tmpfs {
        return refuse("tmpfs", kind);
    }
    if let Some(bind) = &mount.bind_options {
        if bind.read_only_non_recursive && !mount.read_only {
            return Err(
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"
                    .to_owned(),
            );
        }
        if bind.read_only_force_recursive && !mount.read_only {
            return Err(
                "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"
                    .to_owned(),
            );
        }
        if bind.read_only_force_recursive && bind.propagation != "rprivate" {
            return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".to_owned());
        }
    }
    Ok(())
}
