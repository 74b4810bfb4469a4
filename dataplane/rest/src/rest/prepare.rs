//! From a request and a schema to what is to be run. Pure.

use super::compile::{self, Builder, CallBody, Change, Returning, Shape, Statement};
use super::error::RestError;
use super::media::{Media, Plan, negotiate};
use super::parse::{self, Filter, Logic, Op, Query};
use super::payload::{self, BodyKind, Rows};
use super::plan::{Node, read_tree};
use super::prefer::{Count, Prefer, Resolution, Return};
use super::range::RowRange;
use super::request::{Ask, Role, Target};
use super::schema::find::Call;
use super::schema::{Function, Returns, Schema, Table, Volatility};

/// What kind of answer the rows become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Insert,
    Update,
    Put,
    Delete,
    Call { void: bool },
}

/// A statement, and what is done with its answer.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub kind: Kind,
    pub statement: Statement,
    /// Its plan estimates how many rows there are.
    pub estimate: Option<Statement>,
    /// The transaction may not write.
    pub read_only: bool,
    /// The statement may change something.
    pub changes: bool,
    pub media: Media,
    pub prefer: Prefer,
    pub range: RowRange,
    /// The answer has a body of rows.
    pub body: bool,
    pub canonical: String,
    pub target: String,
}

impl Job {
    /// Answers how the server would run it; it is only run when the plan is to be measured.
    fn explained(mut self, plan: Plan) -> Self {
        self.statement.text = format!("{} {}", plan.explain(), self.statement.text);
        Self { estimate: None, body: self.body || self.kind != Kind::Read, ..self }
    }

    /// Whether it is only known after running if the change may stand.
    pub fn decides_late(&self) -> bool {
        self.changes
            && (self.media.is_single()
                || self.prefer.max_affected().is_some()
                || self.prefer.rollback == Some(true)
                || self.kind == Kind::Put)
    }
}

/// The parts of a request that no schema is needed for.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub ask: &'a Ask,
    query: Query,
    pub prefer: Prefer,
    kind: Option<BodyKind>,
    rows: Option<Rows>,
    /// The caller may see plans.
    plans: bool,
}

impl<'a> Request<'a> {
    /// # Errors
    /// `PGRST100`, `PGRST102`, `PGRST117`.
    pub fn read(ask: &'a Ask, role: Role) -> Result<Self, RestError> {
        // Postgres holds no such character, and no statement may.
        if ask.query.contains("%00") || ask.query.contains('\0') || ask.path.contains('\0') {
            return Err(RestError::new(400, "22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
        }
        let function = matches!(ask.target, Target::Function(_));
        match (ask.method.as_str(), &ask.target) {
            (_, Target::Nowhere) => {
                return Err(RestError::new(404, "PGRST125", "Invalid path specified in request URL"));
            }
            ("GET" | "HEAD" | "OPTIONS", _) | ("POST", Target::Table(_) | Target::Function(_)) => {}
            ("PATCH" | "PUT" | "DELETE", Target::Table(_)) => {}
            (method, Target::Function(_)) => {
                let message = format!("Cannot use the {method} method on RPC");
                return Err(RestError::new(405, "PGRST101", message));
            }
            (method, _) => return Err(RestError::method(method)),
        }
        let query = parse::parse(&ask.query, function && ask.reads())?;
        let content_type = ask.header("content-type");
        let kind = BodyKind::of(content_type);
        let rows = match (ask.method.as_str(), &ask.target) {
            ("POST" | "PATCH" | "PUT", Target::Table(_)) => {
                Some(payload::rows(kind, content_type, &ask.body, query.columns.is_some())?)
            }
            _ => None,
        };
        let (prefer, plans) = (Prefer::read(ask.all("prefer")), role == Role::Service);
        Ok(Self { ask, query, prefer, kind, rows, plans })
    }

    pub fn media(&self) -> Result<Media, RestError> {
        negotiate(self.ask.header("accept"), self.ask.target == Target::Root, self.plans)
    }

    /// # Errors
    /// Everything that a request can be refused for before it is run.
    pub fn job(&self, schema: &Schema) -> Result<Job, RestError> {
        let job = match &self.ask.target {
            Target::Function(name) => self.call(schema, name)?,
            Target::Table(name) if self.ask.reads() => self.table_read(schema, name)?,
            Target::Table(name) => self.table_change(schema, name)?,
            Target::Root | Target::Nowhere => {
                return Err(RestError::new(404, "PGRST125", "Invalid path specified in request URL"));
            }
        };
        Ok(match job.media {
            Media::Plan(plan) => job.explained(plan),
            _ => job,
        })
    }

    fn table_read(&self, schema: &Schema, name: &str) -> Result<Job, RestError> {
        schema.table(name)?;
        let mut node = read_tree(schema, name, &self.query, false)?;
        node.range = node.range.with_header(self.range_header())?;
        let media = self.media()?;
        self.prefer.check()?;
        let range = node.range;
        let body = self.ask.method != "HEAD";
        let shape = self.shape(media, body);
        let statement = compile::read_statement(Builder::new(schema), &node, &shape);
        let estimate = self.estimate(schema, &node);
        Ok(Job { statement, estimate, range, body, target: name.to_owned(), ..self.base(Kind::Read, media) })
    }

    /// # Source
    /// RFC 9110 section 14.2: of other methods than GET it means nothing.
    fn range_header(&self) -> Option<&str> {
        self.ask.header("range").filter(|_| self.ask.method == "GET")
    }

    fn base(&self, kind: Kind, media: Media) -> Job {
        Job {
            kind,
            statement: Statement::default(),
            estimate: None,
            read_only: kind == Kind::Read,
            changes: kind != Kind::Read,
            media,
            prefer: self.prefer.clone(),
            range: RowRange::default(),
            body: true,
            canonical: self.query.canonical.clone(),
            target: String::new(),
        }
    }

    fn shape(&self, media: Media, body: bool) -> Shape<'static> {
        let count = matches!(self.prefer.count, Some(Count::Exact | Count::Estimated));
        Shape { media, body, scalar: false, single: false, count, location: &[] }
    }

    /// `EXPLAIN` of the rows without any limit.
    fn estimate(&self, schema: &Schema, node: &Node) -> Option<Statement> {
        if !matches!(self.prefer.count, Some(Count::Planned | Count::Estimated)) {
            return None;
        }
        let bare = Node { range: RowRange::default(), order: Vec::new(), ..node.clone() };
        let mut builder = Builder::new(schema);
        let rows = builder.read_root(&bare, compile::From::Table);
        Some(builder.finish(format!("EXPLAIN (FORMAT JSON) {rows}")))
    }

    fn table_change(&self, schema: &Schema, name: &str) -> Result<Job, RestError> {
        let table = schema.table(name)?;
        let mut node = read_tree(schema, name, &self.query, true)?;
        node.range = RowRange::default();
        let (kind, change) = self.change(table)?;
        self.prefer.check()?;
        let media = self.media()?;
        let body = self.prefer.returns == Some(Return::Representation);
        let headers_only = self.prefer.returns == Some(Return::HeadersOnly) && kind == Kind::Insert;
        let returning = match (body, headers_only) {
            (true, _) => Returning::Rows(&node),
            (false, true) => Returning::Key,
            (false, false) => Returning::Count,
        };
        let location: &[String] = if headers_only { &table.primary_key } else { &[] };
        let mut builder = Builder::new(schema);
        let with = compile::change(&mut builder, table, &change, returning);
        let shape = Shape { count: false, location, ..self.shape(media, body) };
        let statement = compile::wrap(builder, &with, body.then_some(&node), &shape);
        let mut job = Job { statement, body, target: name.to_owned(), ..self.base(kind, media) };
        // Without a key there is nothing to conflict with.
        job.prefer.resolution = job.prefer.resolution.filter(|_| !self.conflict_target(table).is_empty());
        Ok(job)
    }

    fn conflict_target(&self, table: &Table) -> Vec<String> {
        self.query.on_conflict.clone().unwrap_or_else(|| table.primary_key.clone())
    }

    fn change(&self, table: &Table) -> Result<(Kind, Change), RestError> {
        let filters = || -> Vec<Filter> {
            let root = self.query.filters.iter().filter(|(path, _)| path.is_empty());
            root.map(|(_, filter)| filter.clone()).collect()
        };
        let logic: Vec<Logic> = self
            .query
            .logic
            .iter()
            .filter(|(path, _)| path.is_empty())
            .map(|(_, logic)| logic.clone())
            .collect();
        if self.ask.method == "DELETE" {
            return Ok((Kind::Delete, Change::Delete { filters: filters(), logic }));
        }
        // Every other change came with a body, read above.
        let rows = self.rows.as_ref().ok_or_else(|| RestError::body_invalid("Empty or invalid json"))?;
        let columns = self.query.columns.clone().unwrap_or_else(|| rows.keys.clone());
        if let Some(unknown) = columns.iter().find(|column| table.column(column).is_none()) {
            return Err(RestError::column(&table.name, unknown));
        }
        let json = rows.json.clone();
        let defaults = self.prefer.missing_default == Some(true);
        match self.ask.method.as_str() {
            "PATCH" if rows.empty || columns.is_empty() => Ok((Kind::Update, Change::Nothing)),
            "PATCH" => {
                Ok((Kind::Update, Change::Update { json, columns, defaults, filters: filters(), logic }))
            }
            "PUT" => {
                let key = self.put_key(table, filters(), &logic)?;
                let conflict = Some((table.primary_key.clone(), Resolution::Merge));
                Ok((Kind::Put, Change::Insert { json, columns, defaults: false, conflict, key }))
            }
            _ if rows.empty => Ok((Kind::Insert, Change::Nothing)),
            _ => {
                let conflict = self.prefer.resolution.map(|how| (self.conflict_target(table), how));
                Ok((Kind::Insert, Change::Insert { json, columns, defaults, conflict, key: Vec::new() }))
            }
        }
    }

    /// The filters of a PUT, when they name one row by its whole key and nothing else.
    fn put_key(
        &self,
        table: &Table,
        filters: Vec<Filter>,
        logic: &[Logic],
    ) -> Result<Vec<Filter>, RestError> {
        if self.query.limits.values().any(|limits| limits.limit.is_some() || limits.offset.is_some()) {
            let message = "limit/offset querystring parameters are not allowed for PUT";
            return Err(RestError::new(400, "PGRST114", message));
        }
        let equals = |filter: &Filter| {
            !filter.not
                && filter.field.path.is_empty()
                && matches!(filter.op, Op::Quantified { sql: "=", quantifier: None, .. })
        };
        let mut named: Vec<&str> = filters.iter().map(|filter| filter.field.name.as_str()).collect();
        named.sort_unstable();
        let mut key: Vec<&str> = table.primary_key.iter().map(String::as_str).collect();
        key.sort_unstable();
        if key.is_empty() || named != key || !logic.is_empty() || !filters.iter().all(equals) {
            return Err(RestError::put_filters());
        }
        Ok(filters)
    }

    fn call(&self, schema: &Schema, name: &str) -> Result<Job, RestError> {
        let by_get = self.ask.reads() || self.ask.method == "OPTIONS";
        let (mut names, body) = self.arguments(by_get)?;
        names.sort();
        names.dedup();
        let call = Call { name, arguments: &names, body: if by_get { None } else { self.kind } };
        let function = schema.function(&call)?;
        let whole = matches!(function.arguments.as_slice(), [one] if one.name.is_empty()) && !by_get;
        let body = if whole { CallBody::Whole(self.whole_body()?) } else { body };
        let composite = matches!(function.returns, Returns::Composite(_));
        let table = match &function.returns {
            Returns::Composite(Some(table)) => table.clone(),
            _ => name.to_owned(),
        };
        let query = if composite {
            self.query.clone()
        } else {
            Query { select: parse::parse("", false)?.select, ..self.query.clone() }
        };
        let mut node = read_tree(schema, &table, &query, false)?;
        node.range = node.range.with_header(self.range_header())?;
        let media = self.media()?;
        self.prefer.check()?;
        if self.prefer.max_affected().is_some() && !function.set {
            let message = "Function must return SETOF or TABLE when max-affected preference is used with \
                           handling=strict";
            return Err(RestError::new(400, "PGRST128", message));
        }
        Ok(self.call_job(schema, function, (&node, &body), media))
    }

    fn call_job(
        &self,
        schema: &Schema,
        function: &Function,
        (node, body): (&Node, &CallBody),
        media: Media,
    ) -> Job {
        let void = function.returns == Returns::Void;
        let with_body = self.ask.method != "HEAD" && !void;
        let shape = Shape {
            scalar: function.returns == Returns::Scalar,
            single: !function.set,
            ..self.shape(media, with_body)
        };
        let mut builder = Builder::new(schema);
        let with = compile::call(&mut builder, function, body);
        let statement = compile::wrap(builder, &with, Some(node), &shape);
        let read_only = self.ask.reads() || function.volatility != Volatility::Volatile;
        let base = self.base(Kind::Call { void }, media);
        let target = format!("rpc/{}", function.name);
        Job { statement, read_only, changes: !read_only, range: node.range, body: with_body, target, ..base }
    }

    /// The names of the arguments, and where their values are.
    fn arguments(&self, by_get: bool) -> Result<(Vec<String>, CallBody), RestError> {
        if by_get {
            let names = self.query.params.iter().map(|(name, _)| name.clone()).collect();
            return Ok((names, CallBody::Direct(self.query.params.clone())));
        }
        match self.kind {
            Some(BodyKind::Json) => {
                let bare = self.ask.body.trim_ascii();
                let text = if bare.is_empty() { "{}" } else { utf8(bare)? };
                let value: serde_json::Value = serde_json::from_str(text)
                    .map_err(|_| RestError::body_invalid("Empty or invalid json"))?;
                let first = value.get(0).filter(|_| value.is_array()).unwrap_or(&value);
                let keys: Vec<String> = match (&self.query.columns, first.as_object()) {
                    (Some(columns), _) => columns.clone(),
                    (None, Some(object)) => object.keys().cloned().collect(),
                    (None, None) => Vec::new(),
                };
                Ok((keys.clone(), CallBody::Json(text.to_owned(), keys)))
            }
            Some(BodyKind::Form) => {
                let given = payload::parse_form(utf8(&self.ask.body)?);
                Ok((given.iter().map(|(name, _)| name.clone()).collect(), CallBody::Direct(given)))
            }
            Some(BodyKind::Text | BodyKind::Xml | BodyKind::Octets) => {
                Ok((Vec::new(), CallBody::Whole(self.whole_body()?)))
            }
            Some(BodyKind::Csv) | None => {
                let named = self.ask.header("content-type").unwrap_or_default();
                Err(RestError::body_invalid(format!("Content-Type not acceptable: {named}")))
            }
        }
    }

    fn whole_body(&self) -> Result<String, RestError> {
        match self.kind {
            Some(BodyKind::Octets) => {
                let hex: String = self.ask.body.iter().map(|byte| format!("{byte:02x}")).collect();
                Ok(format!("\\x{hex}"))
            }
            _ => Ok(utf8(&self.ask.body)?.to_owned()),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, RestError> {
    std::str::from_utf8(bytes).map_err(|_| RestError::body_invalid("the body is not UTF-8"))
}
