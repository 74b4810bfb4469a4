//! From a decoded path to a file of a release.

/// What a path shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution<'a, F> {
    /// 200 with the file at this path of the release.
    File { path: &'a str, file: &'a F },
    /// 301 to the same path with a slash: relative links of a folder's page need it.
    AddSlash,
    /// 404, with the site's own page when it has one.
    NotFound(Option<&'a F>),
}

/// The files of a release.
pub trait Lookup {
    type File;
    fn find(&self, path: &str) -> Option<(&str, &Self::File)>;
}

/// Finds what `decoded` (a path that [`crate::path::decode`] made) shows.
///
/// Exact file; `/` and `/dir/` their `index.html`; `/about` its `about.html`; `/dir` redirects when only
/// `dir/index.html` exists; then, for paths that do not look like an asset, the root `index.html` of an
/// application that routes in the browser; then the site's `404.html`.
///
/// # Source
/// Wire contract 02 section 10.2, rules 3 to 5, and its open question 13.
pub fn resolve<'a, L: Lookup>(release: &'a L, decoded: &str) -> Resolution<'a, L::File> {
    let missing = || Resolution::NotFound(release.find("404.html").map(|(_, file)| file));
    if crate::path::is_reserved(decoded) {
        return missing();
    }
    let relative = decoded.strip_prefix('/').unwrap_or(decoded);
    let shown = |(path, file)| Resolution::File { path, file };
    if relative.is_empty() || relative.ends_with('/') {
        if let Some(found) = release.find(&format!("{relative}index.html")) {
            return shown(found);
        }
    } else {
        if let Some(found) = release.find(relative) {
            return shown(found);
        }
        if extension(relative).is_none()
            && let Some(found) = release.find(&format!("{relative}.html"))
        {
            return shown(found);
        }
        if release.find(&format!("{relative}/index.html")).is_some() {
            return Resolution::AddSlash;
        }
    }
    if extension(relative).is_none()
        && let Some(found) = release.find("index.html")
    {
        return shown(found);
    }
    missing()
}

/// The `.ext` of the last segment, when it looks like one: 1 to 12 letters or digits.
fn extension(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next().unwrap_or(path);
    let (_, extension) = last.rsplit_once('.')?;
    let good = (1..=12).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then_some(extension)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Site(BTreeMap<String, u32>);

    impl Site {
        fn of(paths: &[&str]) -> Self {
            Self(paths.iter().zip(0..).map(|(path, n)| ((*path).to_owned(), n)).collect())
        }
    }

    impl Lookup for Site {
        type File = u32;
        fn find(&self, path: &str) -> Option<(&str, &u32)> {
            self.0.get_key_value(path).map(|(path, n)| (path.as_str(), n))
        }
    }

    fn shows(site: &Site, path: &str) -> String {
        match resolve(site, path) {
            Resolution::File { path, .. } => path.to_owned(),
            Resolution::AddSlash => "301".to_owned(),
            Resolution::NotFound(Some(_)) => "404.html".to_owned(),
            Resolution::NotFound(None) => "404".to_owned(),
        }
    }

    #[test]
    fn a_plain_site_without_a_root_page() {
        let site = Site::of(&["about.html", "docs/index.html", "docs/a.txt", "data", "data.html", "v1.2"]);
        for (path, shown) in [
            ("/", "404"),
            ("/about.html", "about.html"),
            ("/about", "about.html"),
            ("/about/", "404"),
            ("/docs/", "docs/index.html"),
            ("/docs", "301"),
            ("/docs/a.txt", "docs/a.txt"),
            ("/docs/a", "404"),
            ("/data", "data"),
            ("/v1.2", "v1.2"),
            ("/nope", "404"),
            ("/nope.png", "404"),
            ("/About", "404"),
        ] {
            assert_eq!(shows(&site, path), shown, "{path}");
        }
    }

    #[test]
    fn an_application_gets_its_root_page_for_everything_but_assets() {
        let site = Site::of(&["index.html", "app.js", "404.html"]);
        for (path, shown) in [
            ("/", "index.html"),
            ("/app.js", "app.js"),
            ("/users/42", "index.html"),
            ("/users/", "index.html"),
            ("/missing.js", "404.html"),
            ("/a.b/c", "index.html"),
            ("/release-notes.v2-final", "index.html"),
            ("/trailing.", "index.html"),
            ("/file.abcdefghijklm", "index.html"),
            ("/_blob/x", "404.html"),
            ("/_cas/ab/cd", "404.html"),
            ("/_run402/x", "404.html"),
        ] {
            assert_eq!(shows(&site, path), shown, "{path}");
        }
    }

    #[test]
    fn a_site_with_only_an_error_page_shows_it() {
        let site = Site::of(&["404.html", "a.html"]);
        assert_eq!(shows(&site, "/"), "404.html");
        assert_eq!(shows(&site, "/deep/path"), "404.html");
        assert_eq!(shows(&site, "/404"), "404.html");
        assert_eq!(shows(&Site::of(&[]), "/"), "404");
    }
}
