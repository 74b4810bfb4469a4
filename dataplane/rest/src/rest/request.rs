//! What comes in and what goes out.

use bytes::Bytes;
use store::cells::Login;

/// Who asks, as the database sees it.
#[derive(Debug, Clone)]
pub struct Who {
    pub role: Role,
    /// `request.jwt.claims`: a JSON object.
    pub claims: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Anon,
    Authenticated,
    ProjectAdmin,
    /// Only for `/admin/v1/rest`.
    Service,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::ProjectAdmin => "project_admin",
            Self::Service => "service_role",
        }
    }

    /// The login that may become this role and nothing above it.
    pub(super) fn login(self) -> Login {
        match self {
            Self::Anon | Self::Authenticated => Login::Api,
            Self::ProjectAdmin => Login::Staff,
            Self::Service => Login::Admin,
        }
    }
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path of more segments than any table or function has.
    Nowhere,
    Root,
    Table(String),
    Function(String),
}

/// A request, not looked into yet.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    /// As the client sent it, for functions that look at `request.path`.
    pub path: String,
    /// Where the API begins in that path: where the description says it is.
    pub base: String,
    pub target: Target,
    /// Encoded, without the question mark.
    pub query: String,
    /// Names in lower case; without credentials.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Ask {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// Whether it asks for something and changes nothing by itself.
    pub(super) fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// An answer, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}
