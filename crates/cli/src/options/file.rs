//! Secrets and configs as files of a container: `NAME[,target=…,uid=…,gid=…,mode=…]`.

use types::container::FileUse;

/// Reads `NAME` or a list of settings.
pub(crate) fn file(text: &str) -> Result<FileUse, String> {
    let mut file = FileUse::default();
    for (number, field) in super::words::csv(text)?.into_iter().enumerate() {
        let Some((key, value)) = field.split_once('=') else {
            if number == 0 {
                file.name = field;
                continue;
            }
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        let value = value.to_owned();
        match key.to_lowercase().as_str() {
            "source" | "src" => file.name = value,
            "target" | "dst" => file.target = value,
            "uid" => file.uid = value,
            "gid" => file.gid = value,
            "mode" => {
                let mode = u32::from_str_radix(&value, 8);
                file.mode = Some(mode.map_err(|_| format!("invalid mode specified: {value}"))?);
            }
            _ => return Err(format!("invalid field in secret request: {key}")),
        }
    }
    if file.name.is_empty() {
        return Err("source is required".to_owned());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_and_described() {
        assert_eq!(file("key").expect("valid").name, "key");
        let found = file("source=key,target=/etc/key,uid=5,gid=6,mode=0440").expect("valid");
        let wanted = FileUse {
            name: "key".to_owned(),
            target: "/etc/key".to_owned(),
            uid: "5".to_owned(),
            gid: "6".to_owned(),
            mode: Some(0o440),
            ..FileUse::default()
        };
        assert_eq!(found, wanted);
        for bad in ["", "target=x", "key,nonsense=1", "key,mode=9", "key,target"] {
            assert!(file(bad).is_err(), "{bad}");
        }
    }
}
