//! Domains of tenants' own: add, list, look at, remove.

use store::domains::{self, Domain, DomainStatus, NewDomain};
use store::subdomains;
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// Domains that one project may claim.
const DOMAINS_MAX: i64 = 50;
/// A look on demand is no use more often: clients poll.
const LOOK_SECS_MIN: i64 = 2;

/// A domain with its addresses, and what its owner has to put into DNS.
#[derive(Debug, Clone)]
pub struct NamedDomain {
    pub domain: Domain,
    pub url: String,
    pub subdomain_url: String,
    /// Gone once it is active.
    pub instructions: Option<Instructions>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    pub cname_target: String,
    pub txt_name: String,
    pub txt_value: String,
}

/// What adding did.
#[derive(Debug, Clone)]
pub struct Added {
    pub domain: NamedDomain,
    pub is_new: bool,
}

impl Plane {
    /// Claims a domain for the key's project, to show what one of its names shows; or points a claim of the
    /// project at another name.
    ///
    /// # Errors
    /// `BAD_DOMAIN`; `RESOURCE_NOT_FOUND` when the name is not the project's; `DOMAIN_TAKEN` while another
    /// project holds it; `QUOTA_EXCEEDED`; the lifecycle's refusals; `FEATURE_DISABLED` without a resolver.
    ///
    /// # Source
    /// Wire contract 02 section 7.1.
    pub async fn domain_add(&self, caller: &Caller, domain: &str, name: &str) -> Result<Added, Problem> {
        let project = self.service_project(caller).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        let domain = self.normal_domain(domain)?;
        let store = &self.deps().store;
        let held = subdomains::subdomain_find(store, name).await.map_err(store_problem)?;
        held.filter(|held| held.project == project).ok_or_else(|| {
            Problem::new(Code::ResourceNotFound, format!("the project has not claimed {name}"))
                .hint("Claim it first: run402 subdomains claim.")
        })?;
        self.domain_dns()?;
        self.domain_is_free(&domain, project).await?;
        let new = NewDomain {
            domain: domain.clone(),
            project,
            subdomain_name: name.to_owned(),
            token: format!("run402-{}", hex::encode(&self.deps().entropy.secret()[..16])),
            now: self.now(),
        };
        let mut tx = store.begin().await.map_err(store_problem)?;
        let others = domains::domains_beside(&mut tx, &domain, project).await.map_err(store_problem)?;
        let others = others
            .ok_or_else(|| Problem::new(Code::ProjectNotReady, "the project is being made or erased"))?;
        if others >= DOMAINS_MAX {
            return Err(Problem::new(
                Code::QuotaExceeded,
                format!("a project may have {DOMAINS_MAX} domains"),
            ));
        }
        let (claim, is_new) = domains::domain_claim(&mut tx, &new).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        self.sites().forget_domain(&domain);
        tracing::info!(project.id = %project, domain, is_new, "domain claimed");
        Ok(Added { domain: self.with_addresses(claim), is_new })
    }

    /// The key's project's domains.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `FORBIDDEN`.
    pub async fn domain_list(&self, caller: &Caller) -> Result<Vec<NamedDomain>, Problem> {
        let project = self.service_project(caller).await?;
        let found = domains::domain_list(&self.deps().store, project).await.map_err(store_problem)?;
        Ok(found.into_iter().map(|domain| self.with_addresses(domain)).collect())
    }

    /// A domain of the key's project, after a fresh look at its DNS.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 02 section 7.2.
    pub async fn domain_get(&self, caller: &Caller, domain: &str) -> Result<NamedDomain, Problem> {
        let project = self.service_project(caller).await?;
        let domain = self.normal_domain(domain).map_err(|_| absent())?;
        let found = domains::domain_find(&self.deps().store, &domain, project).await;
        let found = found.map_err(store_problem)?.ok_or_else(absent)?;
        let rested = found.checked_at.is_none_or(|at| (self.now() - at).num_seconds() >= LOOK_SECS_MIN);
        if !rested {
            return Ok(self.with_addresses(found));
        }
        let judged = actors::domains::check(self.deps(), &found).await.map_err(|e| e.into_problem())?;
        if judged.as_ref().is_some_and(|judged| judged.status != found.status) {
            self.sites().forget_domain(&domain);
        }
        Ok(self.with_addresses(judged.unwrap_or(found)))
    }

    /// Gives a domain up: the key's project's, or whichever project of the signing wallet has it.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 02 section 7.2: some clients know the wallet only.
    pub async fn domain_delete(&self, caller: &Caller, domain: &str) -> Result<String, Problem> {
        let domain = self.normal_domain(domain).map_err(|_| absent())?;
        let store = &self.deps().store;
        let projects: Vec<ProjectId> = if caller.bearer.is_some() || caller.apikey.is_some() {
            vec![self.service_project(caller).await?]
        } else {
            let (_, account) = self.account(caller).await?;
            let claims = domains::domain_of_account(store, &domain, account).await.map_err(store_problem)?;
            claims.into_iter().map(|claim| claim.project).collect()
        };
        let mut tx = store.begin().await.map_err(store_problem)?;
        let mut gone = false;
        for project in &projects {
            gone |= domains::domain_drop(&mut tx, &domain, *project).await.map_err(store_problem)?;
        }
        tx.commit().await.map_err(store_problem)?;
        if !gone {
            return Err(absent());
        }
        self.sites().forget_domain(&domain);
        tracing::info!(domain, "domain given up");
        Ok(domain)
    }

    /// Somebody else's proof may be gone from DNS without anybody having looked since.
    async fn domain_is_free(&self, domain: &str, project: ProjectId) -> Result<(), Problem> {
        let holder = domains::domain_holder(&self.deps().store, domain).await.map_err(store_problem)?;
        let Some(holder) = holder.filter(|holder| holder.project != project) else { return Ok(()) };
        let seen = self.domain_dns()?.look(domain, &holder.token).await;
        if seen.owned == Some(false) {
            // Whoever proves it next may have it; the proof decides, not this claim.
            return Ok(());
        }
        Err(Problem::new(Code::DomainTaken, format!("{domain} belongs to another project")))
    }

    fn domain_dns(&self) -> Result<&sites::Dns, Problem> {
        self.deps().dns.as_ref().ok_or_else(|| {
            Problem::new(Code::FeatureDisabled, "this server takes no domains of your own")
                .hint("Its operator must give it a DNS resolver.")
        })
    }

    /// The one spelling of a domain that may be a tenant's.
    fn normal_domain(&self, text: &str) -> Result<String, Problem> {
        let own = self.own_names();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        sites::normal_domain(text, &own).map_err(|bad| Problem::new(Code::BadDomain, bad.to_string()))
    }

    fn with_addresses(&self, domain: Domain) -> NamedDomain {
        let hosts = &self.deps().hosts;
        let instructions = self.deps().dns.as_ref().filter(|_| domain.status != DomainStatus::Active);
        NamedDomain {
            url: hosts.custom_url(&domain.domain),
            subdomain_url: hosts.subdomain_url(&domain.subdomain_name),
            instructions: instructions.map(|dns| Instructions {
                cname_target: dns.target().to_owned(),
                txt_name: sites::Dns::challenge_name(&domain.domain),
                txt_value: domain.token.clone(),
            }),
            domain,
        }
    }
}

fn absent() -> Problem {
    Problem::new(Code::ResourceNotFound, "Domain not found")
}
