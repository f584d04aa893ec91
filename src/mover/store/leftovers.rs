//! Parts of uploads that nobody will complete: they cost money and show nowhere.
//!
//! The library cannot list them. At S3 this is a request of our own, by a signed URL, which leaves this module only towards the store;
//! at Google it is the library's request for a listing with another query (see [`super::asking`]).
//! Azure has parts without uploads, which nobody can remove; it is asked whether there are any to go on with.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path as ObjectPath;
use object_store::signer::{SignedUrlOptions, Signer as _};
use serde::Deserialize;

use super::super::error::Error;
use super::fault::Fault;
use super::open::Opening;
use super::{Store, google};

/// How long the signed URL of one request is good for.
const VALID: Duration = Duration::from_mins(1);
/// Largest answer read: a page of 1000 uploads with keys of the greatest length.
const LARGEST_PAGE: usize = 16 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
    #[serde(default)]
    upload: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
}

/// What became of uploads that were never completed.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many were ended.
    pub aborted: u64,
    /// The ids of those that were spared and are there.
    pub alive: BTreeSet<String>,
}

impl Store {
    /// Ends the uploads of these keys that were never completed, but for those with an id in `spared`.
    pub fn abort_uploads(
        &self,
        spared: &BTreeSet<String>,
        mut is_ours: impl FnMut(&str) -> Result<bool, Error>,
    ) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        if let Opening::Azure(azure) = &self.shared.opened.service {
            // There an upload is called by the key of its object.
            for key in spared {
                let path = self.path(key)?;
                let asked = azure.has_waiting(&*self.shared.opened.objects, &path);
                let failed = |error| self.failed("look for parts of", key, Fault::of(&error));
                if self.wait(asked).map_err(failed)? {
                    swept.alive.insert(key.clone());
                }
            }
            return Ok(swept);
        }
        let mut marker = (String::new(), String::new());
        let mut seen = HashSet::new();
        loop {
            let page = self.page(&marker)?;
            for Upload { key, upload_id } in page.upload {
                let prefix = &self.shared.location.prefix;
                let below =
                    if prefix.is_empty() { Some(key.as_str()) } else { key.strip_prefix(&format!("{prefix}/")) };
                if spared.contains(&upload_id) {
                    swept.alive.insert(upload_id);
                } else if below.map_or(Ok(false), &mut is_ours)? {
                    let path = ObjectPath::parse(&key).map_err(|_| self.failed("name", &key, Fault::Key))?;
                    let done = self.wait(self.shared.opened.parts.abort_multipart(&path, &upload_id));
                    match done.map_err(|error| Fault::of(&error)) {
                        Ok(()) => swept.aborted += 1,
                        // Somebody else was faster.
                        Err(Fault::Missing) => {}
                        Err(fault) => return Err(self.failed("end an unfinished upload of", &key, fault)),
                    }
                }
            }
            marker = (page.next_key_marker, page.next_upload_id_marker);
            // A server that gives the same page for ever is not asked for ever.
            if !page.is_truncated || !seen.insert(marker.clone()) {
                return Ok(swept);
            }
        }
    }

    fn page(&self, (key_marker, id_marker): &(String, String)) -> Result<Page, Error> {
        let failed = |fault| self.failed("list unfinished uploads of", "", fault);
        let mut query = vec![("uploads", String::new())];
        if !self.shared.location.prefix.is_empty() {
            query.push(("prefix", format!("{}/", self.shared.location.prefix)));
        }
        if !key_marker.is_empty() {
            query.extend([("key-marker", key_marker.clone()), ("upload-id-marker", id_marker.clone())]);
        }
        let text = match &self.shared.opened.service {
            Opening::S3(s3) => self.wait(ask_s3(s3, query)).map_err(failed)?,
            Opening::Google => {
                let mut text = form_urlencoded::Serializer::new(String::new());
                let asked = google::uploads(&*self.shared.opened.objects, text.extend_pairs(query).finish());
                let list = self.wait(asked).map_err(|error| failed(Fault::of(&error)))?;
                String::from_utf8_lossy(&list).into_owned()
            }
            Opening::Azure(_) => unreachable!("it has no uploads"),
        };
        quick_xml::de::from_str(&text).map_err(|_| failed(Fault::Busy("the answer is no list of uploads".to_owned())))
    }
}

/// Asks S3 by a signed address.
async fn ask_s3(s3: &AmazonS3, query: Vec<(&str, String)>) -> Result<String, Fault> {
    let options = SignedUrlOptions::new().with_query(query);
    let bucket = ObjectPath::default();
    let signed = s3.signed_url_opts(http::Method::GET, &bucket, VALID, &options);
    let url = signed.await.map_err(|error| Fault::of(&error))?;
    let (status, text) = fetch(url.as_str()).await.map_err(|what| Fault::Busy(what.to_owned()))?;
    if status.is_success() {
        return Ok(text);
    }
    let source = format!("status code: {}: {text}", status.as_u16()).into();
    Err(Fault::of(&object_store::Error::Generic { store: "S3", source }))
}

/// Status and text of an answer. The library's own words could repeat the URL, so there are ours.
async fn fetch(url: &str) -> Result<(http::StatusCode, String), &'static str> {
    let client = reqwest::Client::builder().timeout(VALID).redirect(reqwest::redirect::Policy::none()).build();
    let client = client.map_err(|_| "no TLS")?;
    let mut answer = client.get(url).send().await.map_err(|_| "no answer")?;
    let mut text = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|_| "the answer broke off")? {
        text.extend_from_slice(&bytes);
        if text.len() > LARGEST_PAGE {
            return Err("the answer is too long");
        }
    }
    Ok((answer.status(), String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_uploads_is_read() {
        let text = "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>\
            <NextKeyMarker>n</NextKeyMarker><IsTruncated>true</IsTruncated>\
            <Upload><Key>a/b &amp; c</Key><UploadId>1</UploadId></Upload><Upload><Key>d</Key><UploadId>2</UploadId></Upload>\
            </ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(text).unwrap();
        assert!(page.is_truncated && page.next_key_marker == "n" && page.next_upload_id_marker.is_empty());
        assert_eq!(page.upload.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["a/b & c", "d"]);
        let none = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        assert!(quick_xml::de::from_str::<Page>(none).unwrap().upload.is_empty());
    }
}
