//! Images.

use docker_api::container::GraphDriver;
use docker_api::image::{
    DeleteResponse, Descriptor, HistoryItem, ImageConfig, ImageInspect, ImageMetadata,
    ImageSummary, ManifestAttestation, ManifestImage, ManifestSize, ManifestSummary, Platform,
    RootFs, UnpackedSize,
};
use docker_api::progress::{JsonMessage, ProgressDetail};
use serde_json::Value;
use types::container::ContainerConfig;

use super::earlier;
use super::list::signed;
use crate::http::version::Version;

/// An item of `GET /images/json`.
pub(crate) fn summary(found: engine::ImageSummary, version: Version) -> ImageSummary {
    // Before 1.43 an image without a name had one that said so.
    let named = |names: Vec<String>, none: &str| {
        if names.is_empty() && !version.at_least(43) { vec![none.to_owned()] } else { names }
    };
    let size = signed(found.size);
    ImageSummary {
        containers: found.containers,
        created: found.created,
        id: found.id.to_string(),
        labels: found.labels,
        parent_id: found.parent_id,
        repo_digests: named(found.repo_digests, "<none>@<none>"),
        repo_tags: named(found.repo_tags, "<none>:<none>"),
        shared_size: found.shared_size,
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
        descriptor: None,
        manifests: None,
    }
}

/// The manifests that an image came by. `users` are its containers, `unpacked` its bytes.
pub(crate) fn manifests(
    origin: &engine::ImageOrigin,
    users: &[String],
    unpacked: i64,
    own: &Platform,
) -> Vec<ManifestSummary> {
    let summary = |one: &engine::ImageManifest| {
        let reference = "vnd.docker.reference.";
        let word = |name: &str| one.descriptor.annotations.get(&format!("{reference}{name}"));
        let attestation = word("type").is_some_and(|kind| kind == "attestation-manifest");
        let content = signed(one.content);
        let unpacked = if one.available { unpacked } else { 0 };
        let descriptor = descriptor(&one.descriptor);
        let platform = descriptor.platform.clone().unwrap_or_else(|| own.clone());
        ManifestSummary {
            id: descriptor.digest.clone(),
            available: one.available,
            size: ManifestSize { total: content + unpacked, content },
            kind: if attestation { "attestation" } else { "image" }.to_owned(),
            image_data: (!attestation).then(|| ManifestImage {
                platform,
                containers: if one.available { users.to_vec() } else { Vec::new() },
                size: UnpackedSize { unpacked },
            }),
            attestation_data: attestation.then(|| ManifestAttestation {
                target: word("digest").cloned().unwrap_or_default(),
            }),
            descriptor,
        }
    };
    origin.manifests.iter().map(summary).collect()
}

/// A descriptor in the API's words.
pub(crate) fn descriptor(found: &engine::Descriptor) -> Descriptor {
    Descriptor {
        media_type: found.media_type.clone(),
        digest: found.digest.to_string(),
        size: signed(found.size),
        annotations: found.annotations.clone(),
        platform: found.platform.clone().map(|platform| Platform {
            architecture: platform.architecture,
            os: platform.os,
            os_version: platform.os_version,
            os_features: platform.os_features,
            variant: platform.variant,
        }),
    }
}

/// `GET /images/{name}/json`.
pub(crate) fn inspect(found: engine::ImageInspect, version: Version) -> Value {
    let size = signed(found.size);
    let full = earlier::FullImage {
        config: found.config.clone(),
        container: found.container,
        container_config: found.container_config,
    };
    let inspect = ImageInspect {
        id: found.id.to_string(),
        repo_tags: found.repo_tags,
        repo_digests: found.repo_digests,
        parent: found.parent,
        comment: found.comment,
        created: found.created.unwrap_or_default(),
        docker_version: found.docker_version,
        author: found.author,
        config: found.config.map(config),
        architecture: found.architecture,
        variant: found.variant,
        os: found.os,
        os_version: found.os_version,
        size,
        virtual_size: (!version.at_least(44)).then_some(size),
        graph_driver: GraphDriver {
            data: Some(found.graph_driver.data),
            name: found.graph_driver.name,
        },
        root_fs: RootFs {
            kind: found.root_fs.kind,
            layers: found.root_fs.layers.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata { last_tag_time: found.metadata.last_tag_time },
        descriptor: None,
        manifests: None,
    };
    // Plain data: writing it as JSON cannot fail.
    let mut value = serde_json::to_value(&inspect).unwrap_or_default();
    earlier::image(&mut value, full, version);
    value
}

fn config(config: ContainerConfig) -> ImageConfig {
    ImageConfig {
        user: config.user,
        exposed_ports: config.exposed_ports,
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes,
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck,
        on_build: config.on_build,
        shell: config.shell,
    }
}

/// An item of `GET /images/{name}/history`.
pub(crate) fn history(item: engine::ImageHistory) -> HistoryItem {
    HistoryItem {
        comment: item.comment,
        created: item.created,
        created_by: item.created_by,
        id: item.id,
        size: signed(item.size),
        tags: item.tags.unwrap_or_default(),
    }
}

/// What a removal did.
pub(crate) fn removal(removal: engine::Removal) -> DeleteResponse {
    let (untagged, deleted) = match removal {
        engine::Removal::Untagged { reference, .. } => (reference, String::new()),
        engine::Removal::DeletedImage(id) => (String::new(), id.to_string()),
        engine::Removal::DeletedLayer { chain, .. } => (String::new(), chain.to_string()),
    };
    DeleteResponse { untagged, deleted }
}

/// A line about a layer that is being loaded.
pub(crate) fn progress(step: engine::LoadProgress) -> Option<JsonMessage> {
    match step {
        engine::LoadProgress::Layer { name, done, total } => Some(JsonMessage {
            status: Some("Loading layer".to_owned()),
            progress_detail: Some(ProgressDetail { current: signed(done), total: signed(total) }),
            id: Some(short(&name).to_owned()),
            ..JsonMessage::default()
        }),
        engine::LoadProgress::LayerDone { .. } => None,
    }
}

/// The twelve digits by which people know a digest.
fn short(name: &str) -> &str {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    hex.get(..12).unwrap_or(hex)
}

/// The lines that say that an image is there, and which others lost its names.
pub(crate) fn loaded(image: &engine::Loaded) -> Vec<JsonMessage> {
    if image.names.is_empty() {
        return vec![JsonMessage::stream(format!("Loaded image ID: {}\n", image.id))];
    }
    let taken = image.taken.iter().map(|(name, id)| {
        format!(
            "The image {name} already exists, renaming the old one with ID {id} to empty string\n"
        )
    });
    let loaded = image.names.iter().map(|name| format!("Loaded image: {name}\n"));
    taken.chain(loaded).map(JsonMessage::stream).collect()
}
