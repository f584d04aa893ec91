//! Leader election by a Lease: of several operators one works, the others keep their caches warm.
//!
//! It saves work, it does not carry safety: two operators at once are harmless, because every status write is guarded.
//! Every write of the lease names the version it replaces. Whether a holder still lives is judged by how long its lease
//! has not changed, measured by the monotonic clock of the one who looks; times in the lease are for people.
//! A leader counts from the moment in which it sent its last renewal, and stops before anybody can take over: the renew
//! deadline is shorter than the duration of the lease.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::clock;
use super::cluster::Cluster;
use super::error::ReconcileError;

/// The longest time for which a lease is believed, whatever its holder wrote into it.
pub(super) const LONGEST_DURATION: Duration = Duration::from_hours(1);

/// The times of an election. `duration > renew_deadline > retry_period`; the settings see to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// How long the others wait for a holder that does not renew.
    pub duration: Duration,
    /// How long after its last renewal a leader goes on.
    pub renew_deadline: Duration,
    /// How often a leader renews and the others look.
    pub retry_period: Duration,
}

/// What an operator needs to take part.
#[derive(Clone, Debug)]
pub(super) struct Candidacy {
    pub namespace: String,
    pub name: String,
    pub identity: String,
    pub terms: Terms,
}

/// A name for this process: the pod's, and something that another process of that name does not have.
pub(super) fn identity(pod: &str) -> String {
    format!("{pod}_{:016x}", RandomState::new().build_hasher().finish())
}

/// Whether this operator may write. Read before every write.
pub(super) struct Leadership {
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    /// There is no election.
    Unopposed,
    /// The lease is held until then, unless it is renewed.
    Leading { until: Instant },
    /// Somebody else leads, as far as was known until then.
    Following { known_until: Instant },
    /// The lease has not been read yet, or not for long.
    Unknown,
}

impl Leadership {
    /// For an operator that takes part in no election.
    pub fn unopposed() -> Self {
        Self { standing: Mutex::new(Standing::Unopposed) }
    }

    /// For an operator that has yet to be elected.
    pub fn unknown() -> Self {
        Self { standing: Mutex::new(Standing::Unknown) }
    }

    /// How long a write that starts now may take, at most `longest`; nothing when none may start.
    pub fn time_to_write(&self, longest: Duration) -> Option<Duration> {
        match *self.standing.lock() {
            Standing::Unopposed => Some(longest),
            Standing::Leading { until } => {
                let left = until.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(left.min(longest))
            }
            Standing::Following { .. } | Standing::Unknown => None,
        }
    }

    /// Whether a write may start now.
    pub fn leads(&self) -> bool {
        self.time_to_write(Duration::MAX).is_some()
    }

    /// Whether it is known who leads.
    pub fn is_known(&self) -> bool {
        match *self.standing.lock() {
            Standing::Unopposed => true,
            Standing::Leading { until: known_until } | Standing::Following { known_until } => {
                Instant::now() < known_until
            }
            Standing::Unknown => false,
        }
    }

    fn set(&self, standing: Standing) {
        *self.standing.lock() = standing;
    }
}

/// The lease, as far as the election judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// Which write made it so.
    pub version: String,
    /// How long it is to be believed.
    pub duration: Duration,
}

/// What a look at the lease has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// The API server did not answer.
    Nothing,
    /// There is no lease.
    Absent,
    /// This is the lease.
    Lease(Seen),
}

/// What is to be done about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Create it in our name.
    Create,
    /// Write our name over the version that was seen.
    Replace(String),
    /// Leave it alone.
    Wait,
}

/// Why somebody does not lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bystander {
    /// It has not been found out yet who does.
    Undecided,
    /// Somebody else holds the lease.
    HeldBy(String),
    /// The lease is gone.
    Gone,
    /// Our own lease was not renewed in time.
    NotRenewed,
}

/// The election as one candidate sees it: pure, given the time.
pub(super) struct Election {
    identity: String,
    terms: Terms,
    /// The lease, and since when it has been the same.
    seen: Option<(Seen, Instant)>,
    /// Until when we lead, or why we do not.
    standing: Result<Instant, Bystander>,
}

impl Election {
    pub fn new(identity: String, terms: Terms) -> Self {
        Self { identity, terms, seen: None, standing: Err(Bystander::Undecided) }
    }

    /// What follows from a look at the lease that was answered at `now`.
    pub fn next(&mut self, observed: Observed, now: Instant) -> Action {
        if self.standing.as_ref().is_ok_and(|until| *until <= now) {
            self.standing = Err(Bystander::NotRenewed);
        }
        match observed {
            Observed::Nothing => Action::Wait,
            Observed::Absent => {
                self.standing = Err(Bystander::Gone);
                // Whoever held it may not know yet that it is gone.
                let may_still_lead = self
                    .seen
                    .as_ref()
                    .is_some_and(|(seen, since)| seen.holder != self.identity && !is_over(seen, *since, now));
                if may_still_lead { Action::Wait } else { Action::Create }
            }
            Observed::Lease(seen) => {
                let since = match &self.seen {
                    Some((known, since)) if known.version == seen.version => *since,
                    Some(_) | None => now,
                };
                self.seen = Some((seen.clone(), since));
                if seen.holder == self.identity {
                    return Action::Replace(seen.version);
                }
                let over = is_over(&seen, since, now);
                self.standing = Err(Bystander::HeldBy(seen.holder));
                if over { Action::Replace(seen.version) } else { Action::Wait }
            }
        }
    }

    /// A write of ours that was sent at `sent` is stored.
    pub fn written(&mut self, stored: Seen, sent: Instant, now: Instant) {
        self.seen = Some((stored, now));
        self.standing = Ok(sent + self.terms.renew_deadline);
    }

    /// Until when we lead, or why we do not.
    pub fn standing(&self, now: Instant) -> Result<Instant, Bystander> {
        match &self.standing {
            Ok(until) if *until <= now => Err(Bystander::NotRenewed),
            standing => standing.clone(),
        }
    }
}

/// Whether a lease that has not changed since then can be taken.
fn is_over(seen: &Seen, since: Instant, now: Instant) -> bool {
    seen.holder.is_empty() || now.saturating_duration_since(since) >= seen.duration.min(LONGEST_DURATION)
}

/// What a new leader does before and after it may write.
pub(super) trait Takeover {
    /// Drops what was learnt in an earlier term.
    fn forget(&self);
    /// Lets everything be looked at.
    fn look_at_all(&self);
}

/// Channels by which everything is looked at, and what is to be forgotten before.
pub(super) struct FreshStart<F> {
    pub forget: F,
    pub wake: Vec<UnboundedSender<()>>,
}

impl<F: Fn()> Takeover for FreshStart<F> {
    fn forget(&self) {
        (self.forget)();
    }

    fn look_at_all(&self) {
        for wake in &self.wake {
            // The receivers live as long as the controllers.
            let _ = wake.unbounded_send(());
        }
    }
}

/// Takes part in the election until `done` resolves, and then gives the lease back, if it is ours.
pub(super) async fn run(
    candidacy: &Candidacy,
    cluster: &Cluster,
    leadership: &Leadership,
    takeover: impl Takeover,
    done: impl Future<Output = ()>,
) {
    let mut elector = Elector {
        candidacy,
        cluster,
        leadership,
        election: Election::new(candidacy.identity.clone(), candidacy.terms),
        takeover,
        told: None,
        latest: None,
    };
    let mut done = pin!(done);
    loop {
        let next = tokio::select! {
            biased;
            () = &mut done => break,
            next = elector.round() => next,
        };
        tokio::select! {
            biased;
            () = &mut done => break,
            () = sleep_until(next) => {}
        }
    }
    leadership.set(Standing::Unknown);
    elector.release().await;
}

struct Elector<'e, T> {
    candidacy: &'e Candidacy,
    cluster: &'e Cluster,
    leadership: &'e Leadership,
    election: Election,
    takeover: T,
    /// What was last said about who leads.
    told: Option<Result<(), Bystander>>,
    /// The lease as our last write left it: a leader renews without reading.
    latest: Option<Seen>,
}

impl<T: Takeover> Elector<'_, T> {
    /// Looks and acts once; gives back when to do so again.
    async fn round(&mut self) -> Instant {
        let observed = match self.latest.take() {
            Some(seen) => Observed::Lease(seen),
            None => self.look().await,
        };
        let answered = observed != Observed::Nothing;
        let now = Instant::now();
        let action = self.election.next(observed, now);
        self.settle(answered);
        let version = match action {
            Action::Wait => return self.next_round(now),
            Action::Create => None,
            Action::Replace(version) => Some(version),
        };
        let sent = Instant::now();
        match self.write(version.as_deref()).await {
            Ok(stored) => {
                let stored = seen(&stored);
                self.election.written(stored.clone(), sent, Instant::now());
                self.latest = Some(stored);
                self.settle(true);
            }
            Err(error) => {
                let code = error.api_status().map(|status| status.code);
                if code == Some(409) || (code == Some(404) && version.is_some()) {
                    // Somebody else wrote; who it was is worth a look at once.
                    return Instant::now();
                }
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot write the lease");
                self.settle(false);
            }
        }
        self.next_round(sent)
    }

    /// A retry period later, and at the latest when the right to lead ends, so that it is said at once.
    fn next_round(&self, from: Instant) -> Instant {
        let next = from + self.candidacy.terms.retry_period;
        match self.election.standing(Instant::now()) {
            Ok(until) => next.min(until),
            Err(_) => next,
        }
    }

    async fn look(&self) -> Observed {
        let Candidacy { namespace, name, .. } = self.candidacy;
        match self.cluster.read_lease(namespace, name, self.limit()).await {
            Ok(Some(lease)) => Observed::Lease(seen(&lease)),
            Ok(None) => Observed::Absent,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the lease");
                Observed::Nothing
            }
        }
    }

    async fn write(&self, version: Option<&str>) -> Result<Lease, ReconcileError> {
        let Candidacy { namespace, name, identity, terms } = self.candidacy;
        let lease = lease(name, identity, terms.duration, version);
        self.cluster.write_lease(namespace, name, &lease, version.is_some(), self.limit()).await
    }

    /// How long one call may take: a lost answer must leave time for another try, and none may outlive the term.
    fn limit(&self) -> Duration {
        let longest = self.candidacy.terms.renew_deadline / 2;
        let now = Instant::now();
        self.election.standing(now).map_or(longest, |until| until.saturating_duration_since(now).min(longest))
    }

    /// Opens or closes the way for writes, and says so when that is new.
    fn settle(&mut self, answered: bool) {
        let Candidacy { namespace, name, terms, .. } = self.candidacy;
        let now = Instant::now();
        match self.election.standing(now) {
            Ok(until) => {
                let is_new = self.told != Some(Ok(()));
                if is_new {
                    self.takeover.forget();
                }
                self.leadership.set(Standing::Leading { until });
                if is_new {
                    tracing::info!(namespace, lease = name, "leading: this operator works from now on");
                    self.takeover.look_at_all();
                }
                self.told = Some(Ok(()));
            }
            Err(bystander) => {
                if answered {
                    self.leadership.set(Standing::Following { known_until: now + terms.duration });
                } else if self.told == Some(Ok(())) {
                    self.leadership.set(Standing::Unknown);
                }
                let told = Err(bystander);
                if self.told.as_ref() != Some(&told) {
                    self.say(&told);
                    self.told = Some(told);
                }
            }
        }
    }

    fn say(&self, standing: &Result<(), Bystander>) {
        let Candidacy { namespace, name, .. } = self.candidacy;
        let Err(bystander) = standing else { return };
        let why = match bystander {
            Bystander::Undecided => return,
            Bystander::HeldBy(holder) if holder.is_empty() => "nobody holds the lease".to_owned(),
            Bystander::HeldBy(holder) => format!("{holder} holds the lease"),
            Bystander::Gone => "the lease is gone".to_owned(),
            Bystander::NotRenewed => {
                format!("the lease was not renewed for {} s", self.candidacy.terms.renew_deadline.as_secs())
            }
        };
        if self.told == Some(Ok(())) {
            tracing::warn!(namespace, lease = name, "no longer leading, nothing more is written: {why}");
        } else {
            tracing::info!(namespace, lease = name, "following: {why}");
        }
    }

    /// Gives the lease back, so that nobody waits for it to run out.
    async fn release(&self) {
        let Candidacy { namespace, name, identity, terms } = self.candidacy;
        let limit = terms.retry_period;
        let ours = match self.cluster.read_lease(namespace, name, limit).await {
            Ok(found) => found.filter(|lease| seen(lease).holder == *identity),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot give the lease back, it will run out");
                return;
            }
        };
        let Some(version) = ours.and_then(|lease| lease.resource_version()) else { return };
        let free = lease(name, "", Duration::from_secs(1), Some(&version));
        match self.cluster.write_lease(namespace, name, &free, true, limit).await {
            Ok(_) => tracing::info!(namespace, lease = name, "gave the lease back"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot give the lease back, it will run out");
            }
        }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Seen {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
        duration: Duration::from_secs(seconds),
    }
}

/// The lease in somebody's name. Its times are for people: nobody judges by them.
fn lease(name: &str, holder: &str, duration: Duration, version: Option<&str>) -> Value {
    let now = clock::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name, "resourceVersion": version },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration.as_secs(),
            "renewTime": now,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry_period: Duration::from_secs(2),
    };

    fn election() -> (Election, Instant) {
        (Election::new("us".to_owned(), TERMS), Instant::now())
    }

    fn held(holder: &str, version: &str) -> Seen {
        Seen { holder: holder.to_owned(), version: version.to_owned(), duration: TERMS.duration }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_one_creates_the_lease_and_leads_from_the_moment_it_sent_the_write() {
        let (mut election, start) = election();
        assert_eq!(election.next(Observed::Absent, start), Action::Create);
        assert!(election.standing(start).is_err(), "a write that is not answered gives no right");
        election.written(held("us", "1"), start, start + seconds(3));
        assert_eq!(election.standing(start + seconds(3)), Ok(start + seconds(10)));
    }

    #[test]
    fn a_lease_is_taken_only_after_it_was_seen_unchanged_for_its_whole_duration() {
        let (mut election, start) = election();
        let lease = || Observed::Lease(held("them", "1"));
        assert_eq!(election.next(lease(), start), Action::Wait);
        assert_eq!(election.next(lease(), start + seconds(14)), Action::Wait);
        assert_eq!(election.next(lease(), start + seconds(15)), Action::Replace("1".to_owned()));
    }

    #[test]
    fn every_renewal_starts_the_waiting_anew() {
        let (mut election, start) = election();
        election.next(Observed::Lease(held("them", "1")), start);
        assert_eq!(election.next(Observed::Lease(held("them", "2")), start + seconds(14)), Action::Wait);
        assert_eq!(election.next(Observed::Lease(held("them", "2")), start + seconds(28)), Action::Wait);
        assert_eq!(
            election.next(Observed::Lease(held("them", "2")), start + seconds(29)),
            Action::Replace("2".to_owned())
        );
    }

    #[test]
    fn the_holders_own_duration_counts_and_not_ours() {
        let (mut election, start) = election();
        let lease = || Observed::Lease(Seen { duration: seconds(60), ..held("them", "1") });
        election.next(lease(), start);
        assert_eq!(election.next(lease(), start + seconds(59)), Action::Wait);
        assert_eq!(election.next(lease(), start + seconds(60)), Action::Replace("1".to_owned()));
    }

    #[test]
    fn a_lease_for_ever_is_believed_for_an_hour() {
        let (mut election, start) = election();
        let lease = || Observed::Lease(Seen { duration: Duration::MAX, ..held("them", "1") });
        election.next(lease(), start);
        assert_eq!(election.next(lease(), start + LONGEST_DURATION), Action::Replace("1".to_owned()));
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once() {
        let (mut election, start) = election();
        assert_eq!(election.next(Observed::Lease(held("", "7")), start), Action::Replace("7".to_owned()));
    }

    #[test]
    fn silence_gives_no_right_and_takes_it_after_the_renew_deadline() {
        let (mut election, start) = election();
        election.written(held("us", "1"), start, start);
        assert_eq!(election.next(Observed::Nothing, start + seconds(9)), Action::Wait);
        assert!(election.standing(start + seconds(9)).is_ok());
        assert_eq!(election.standing(start + seconds(10)), Err(Bystander::NotRenewed), "without being asked to look");
        assert_eq!(election.next(Observed::Nothing, start + seconds(10)), Action::Wait);
        assert_eq!(election.standing(start + seconds(10)), Err(Bystander::NotRenewed));
    }

    #[test]
    fn our_own_name_in_the_lease_is_no_renewal() {
        let (mut election, start) = election();
        election.written(held("us", "1"), start, start);
        // The answer to a renewal was lost; the lease shows that it was stored, but not when it was sent.
        let action = election.next(Observed::Lease(held("us", "2")), start + seconds(9));
        assert_eq!(action, Action::Replace("2".to_owned()));
        assert_eq!(election.standing(start + seconds(10)), Err(Bystander::NotRenewed));
    }

    #[test]
    fn another_name_in_the_lease_ends_the_term_at_once() {
        let (mut election, start) = election();
        election.written(held("us", "1"), start, start);
        assert_eq!(election.next(Observed::Lease(held("them", "2")), start + seconds(1)), Action::Wait);
        assert_eq!(election.standing(start + seconds(1)), Err(Bystander::HeldBy("them".to_owned())));
    }

    #[test]
    fn a_deleted_lease_ends_the_term_and_is_made_anew_by_its_holder() {
        let (mut election, start) = election();
        election.written(held("us", "1"), start, start);
        assert_eq!(election.next(Observed::Absent, start + seconds(1)), Action::Create);
        assert_eq!(election.standing(start + seconds(1)), Err(Bystander::Gone));
    }

    #[test]
    fn the_others_give_the_holder_of_a_deleted_lease_its_time() {
        let (mut election, start) = election();
        election.next(Observed::Lease(held("them", "1")), start);
        assert_eq!(election.next(Observed::Absent, start + seconds(1)), Action::Wait);
        assert_eq!(election.next(Observed::Absent, start + seconds(15)), Action::Create);
    }

    #[test]
    fn a_term_that_runs_out_closes_the_way_by_itself() {
        let leadership = Leadership::unknown();
        assert!(!leadership.leads() && !leadership.is_known());
        leadership.set(Standing::Leading { until: Instant::now() + seconds(10) });
        assert!(
            leadership.time_to_write(seconds(30)).is_some_and(|left| left <= seconds(10)),
            "none outlives the term"
        );
        assert_eq!(leadership.time_to_write(seconds(1)), Some(seconds(1)));
        leadership.set(Standing::Leading { until: Instant::now() });
        assert_eq!(leadership.time_to_write(seconds(1)), None);
        assert!(!leadership.leads() && !leadership.is_known());
    }

    #[test]
    fn without_an_election_everything_may_be_written() {
        let leadership = Leadership::unopposed();
        assert_eq!(leadership.time_to_write(seconds(10)), Some(seconds(10)));
        assert!(leadership.is_known());
    }

    #[test]
    fn two_processes_of_one_pod_have_two_names() {
        assert_ne!(identity("operator-0"), identity("operator-0"));
    }
}
