//! Lists: repositories, tags, referrers.

use hyper::StatusCode;
use hyper::header;
use serde_json::{Value, json};
use types::digest::Digest;

use crate::answer::{Answer, FILTERS};
use crate::app::Call;
use crate::error::Error;
use crate::manifest::OCI_INDEX;
use crate::name::Name;
use crate::page::{Page, link};

/// So many repositories are on a page unless the client says otherwise.
const REPOSITORIES: usize = 100;
/// So many referrers are on a page at most: an index must not be larger than a manifest may be.
const REFERRERS: usize = 1000;

fn paged(call: &Call, document: &Value, next: Option<String>) -> Answer {
    let answer = Answer::json(StatusCode::OK, document);
    match next {
        Some(query) => answer.with(header::LINK, &link(call.head.uri.path(), &query)),
        None => answer,
    }
}

/// `/v2/_catalog`
pub(crate) async fn catalog(call: &Call) -> Result<Answer, Error> {
    let mut page = Page::parse(&call.query)?;
    page.most.get_or_insert(REPOSITORIES);
    let names = call.on_disk(|app| Ok(app.storage.catalog()?)).await?;
    let (names, next) = page.cut(names, Name::as_str);
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    Ok(paged(call, &json!({ "repositories": names }), next))
}

/// `/v2/<name>/tags/list`
pub(crate) async fn tags(call: &Call, name: Name) -> Result<Answer, Error> {
    let page = Page::parse(&call.query)?;
    let repository = name.clone();
    let local = call.on_disk(move |app| {
        let repository = app.storage.repository(&repository);
        if !repository.exists() {
            return Ok(None);
        }
        let tags = repository.tags()?;
        Ok(Some(tags.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<String>>()))
    });
    let tags = match &call.app.cache {
        Some(cache) => cache.tags(&name, local).await?,
        None => local.await?,
    };
    let tags = tags.ok_or_else(|| Error::NameUnknown(name.to_string()))?;
    let (tags, next) = page.cut(tags, String::as_str);
    Ok(paged(call, &json!({ "name": name.as_str(), "tags": tags }), next))
}

/// `/v2/<name>/referrers/<digest>`
pub(crate) async fn referrers(call: &Call, name: Name, subject: Digest) -> Result<Answer, Error> {
    let mut page = Page::parse(&call.query)?;
    page.most = Some(page.most.map_or(REFERRERS, |most| most.min(REFERRERS)));
    let (repository, about) = (name.clone(), subject.clone());
    let local =
        call.on_disk(move |app| Ok(app.storage.repository(&repository).referrers(&about)?));
    let mut found = match &call.app.cache {
        Some(cache) => cache.referrers(&name, &subject, local).await?,
        None => local.await?,
    };
    let filter = call.query.get("artifactType").filter(|kind| !kind.is_empty());
    if let Some(kind) = filter {
        found.retain(|descriptor| descriptor["artifactType"] == kind);
    }
    let digest_of =
        |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_owned();
    let keyed: Vec<(String, Value)> =
        found.into_iter().map(|descriptor| (digest_of(&descriptor), descriptor)).collect();
    let (keyed, next) = page.cut(keyed, |(digest, _)| digest);
    let manifests: Vec<Value> = keyed.into_iter().map(|(_, descriptor)| descriptor).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    let next = next.map(|next| match filter {
        Some(kind) => format!("{next}&artifactType={}", crate::percent::encoded(kind)),
        None => next,
    });
    let mut answer = paged(call, &index, next).with(header::CONTENT_TYPE, OCI_INDEX);
    if filter.is_some() {
        answer = answer.with(FILTERS, "artifactType");
    }
    Ok(answer)
}
