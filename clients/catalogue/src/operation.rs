//! The shape of an entry.

/// The verb of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Where a parameter travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    Path,
    Query,
    Body,
    Header,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Text,
    /// A text with slashes that stay slashes in a path.
    Segments,
    Integer,
    Boolean,
    Object,
    List,
    /// An ISO-8601 time in UTC.
    Time,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One input of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Param {
    pub name: &'static str,
    pub place: Place,
    pub required: bool,
    pub kind: Kind,
    pub doc: &'static str,
}

impl Param {
    pub(crate) const fn path(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Path, required: true, kind, doc }
    }
    pub(crate) const fn query(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Query, required: false, kind, doc }
    }
    pub(crate) const fn body(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Body, required: false, kind, doc }
    }
    pub(crate) const fn header(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, place: Place::Header, required: false, kind, doc }
    }
    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// One field of a successful answer. The list of an operation is a sketch: answers may hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
}

/// A field that is always there.
pub(crate) const fn has(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, nullable: false }
}

/// A field that may be null or absent.
pub(crate) const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, nullable: true }
}

/// The credential that decides. Others may ride along and are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    None,
    /// `SIGN-IN-WITH-X`, signed by a wallet.
    Wallet,
    /// `Authorization: Bearer <service_key>`.
    ServiceKey,
    /// `apikey: <anon_key>`; a service key does as well.
    AnonKey,
    /// `Authorization: Bearer <token of an end user>`, and possibly `apikey: <anon_key>`.
    User,
    /// `apikey: <anon_key>`, and possibly `Authorization: Bearer <token of an end user>`. Never a service key.
    AnonOrUser,
    /// `apikey`, or the signature of the wallet that owns the project.
    AnonOrWallet,
    /// An admin's wallet and `X-Admin-Mode: 1`.
    Admin,
}

/// What the age of the account's lease has to say.
///
/// # Source
/// Wire contract 01 section 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing: reads, money, data, and giving things up.
    Open,
    /// Refused from 14 days after the lease's end: it changes what the account runs.
    Lifecycle,
}

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    None,
    Json,
    /// Plain SQL, or JSON when there are parameters.
    SqlOrJson,
    /// Bytes, of whatever type the answer says.
    Bytes,
}

impl Media {
    /// The content types, the preferred one first.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Json => &["application/json"],
            Self::Bytes => &["application/octet-stream"],
            Self::SqlOrJson => &["text/plain", "application/json"],
        }
    }
}

/// One operation: what it is called, how it travels, who may, and by which words people reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Operation {
    /// `resource.verb`, as in `tiers.set`; also the OpenAPI `operationId`.
    pub id: &'static str,
    pub method: Method,
    /// With `{name}` for each path parameter.
    pub path: &'static str,
    /// Path parameters first, in the order of the path.
    pub params: &'static [Param],
    pub auth: Auth,
    pub gate: Gate,
    /// A workflow's CI session may call it; every other route is closed to one.
    pub ci: bool,
    /// The server may answer 402 with an offer, and a client may pay it.
    pub paid: bool,
    pub request: Media,
    pub response: Media,
    /// What a successful answer holds.
    pub answer: &'static [Field],
    pub summary: &'static str,
    pub doc: &'static str,
    /// The words after `run402`.
    pub cli: Option<&'static [&'static str]>,
    /// The MCP tool of the same meaning.
    pub mcp: Option<&'static str>,
    /// The status of success.
    pub success: u16,
}

impl Operation {
    /// A public read of JSON: what an entry is when it does not say otherwise.
    pub(crate) const READ: Self = Self {
        id: "",
        method: Method::Get,
        path: "",
        params: &[],
        auth: Auth::None,
        gate: Gate::Open,
        ci: false,
        paid: false,
        request: Media::None,
        response: Media::Json,
        answer: &[],
        summary: "",
        doc: "",
        cli: None,
        mcp: None,
        success: 200,
    };

    /// A change sent as JSON.
    pub(crate) const CHANGE: Self = Self { method: Method::Post, request: Media::Json, ..Self::READ };

    /// The removal of something.
    pub(crate) const REMOVAL: Self = Self { method: Method::Delete, ..Self::READ };

    /// The media types of a request, none when it has no body.
    pub fn request_media(&self) -> &'static [&'static str] {
        self.request.types()
    }

    /// The inputs that travel there.
    pub fn params_in(&self, place: Place) -> impl Iterator<Item = &'static Param> {
        self.params.iter().filter(move |param| param.place == place)
    }
}
