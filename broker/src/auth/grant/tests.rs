use super::super::claims::SignedBy;
use super::*;

fn name(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn token(user: &str, grants: &[(&str, &[Action])]) -> Caller {
    let grant = |(pattern, can): &(&str, &[Action])| super::super::claims::Grant {
        pattern: Pattern::parse(pattern).unwrap(),
        can: can.iter().copied().collect(),
    };
    let user = (!user.is_empty()).then(|| user.into());
    let grants = grants.iter().map(grant).collect();
    Caller::Token(Arc::new(Claims {
        user,
        id: None,
        issued: None,
        signed_by: SignedBy::of(&[]),
        is_address: false,
        between: None,
        grants,
        info: None,
        until: u64::MAX,
    }))
}

fn backend(can: &[Action], channels: &[&str]) -> Caller {
    let channels = channels.iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    Caller::Backend(Arc::new(Backend { name: "shop".into(), proof: Proof::Peer(0), can: can.iter().copied().collect(), channels }))
}

fn policy() -> Policy {
    let own = vec![Template::parse("user:{sub}").unwrap(), Template::parse("user:{sub}:*").unwrap()];
    let namespaces = [
        ("open", Permissions { subscribe: Who::Anyone, publish: Who::Anyone, ..Permissions::default() }),
        ("members", Permissions { subscribe: Who::Token, history: Who::Token, ..Permissions::default() }),
        ("closed", Permissions::default()),
        ("feed", Permissions { publish: Who::Keys, subscribe: Who::Anyone, ..Permissions::default() }),
        ("locked", Permissions { publish: Who::Keys, subscribe: Who::Keys, history: Who::Keys, presence: Who::Keys, own: Vec::new() }),
        ("user", Permissions { own, ..Permissions::default() }),
    ];
    let namespaces = namespaces.into_iter().map(|(name, permissions)| (name.to_owned(), permissions)).collect();
    Policy { default: Permissions::default(), namespaces, unlisted: false }
}

fn rule(caller: &Caller, action: Action, channel: &str) -> &'static str {
    decide(caller, action, &name(channel), &policy()).name()
}

#[test]
fn without_a_credential_only_what_a_namespace_opens_is_open() {
    assert_eq!(rule(&Caller::Anyone, Action::Subscribe, "open:a"), "namespace_anyone");
    assert_eq!(rule(&Caller::Anyone, Action::Publish, "open:a"), "namespace_anyone");
    assert_eq!(rule(&Caller::Anyone, Action::History, "open:a"), "no_credential");
    for channel in ["a", "members:a", "closed:a"] {
        for action in Action::ALL {
            assert_eq!(rule(&Caller::Anyone, action, channel), "no_credential", "{action} {channel}");
        }
    }
    assert_eq!(rule(&Caller::Anyone, Action::Subscribe, "elsewhere:a"), "unlisted_namespace");
}

#[test]
fn nothing_here_asks_means_nothing_is_asked() {
    assert!(Action::ALL.iter().all(|action| rule(&Caller::Everyone, *action, "elsewhere:a#b") == "open"));
}

#[test]
fn a_token_may_do_what_it_grants_and_what_the_namespace_allows_to_tokens() {
    let caller = token("ann", &[("closed:1", &[Action::Subscribe]), ("closed:*", &[Action::Publish])]);
    assert_eq!(rule(&caller, Action::Subscribe, "closed:1"), "grant");
    assert_eq!(rule(&caller, Action::Publish, "closed:2"), "grant");
    assert_eq!(rule(&caller, Action::Subscribe, "closed:2"), "no_grant");
    assert_eq!(rule(&caller, Action::History, "closed:1"), "no_grant", "listening is not looking back");
    assert_eq!(rule(&caller, Action::Subscribe, "members:x"), "namespace_token");
    assert_eq!(rule(&caller, Action::Publish, "members:x"), "no_grant");
    assert_eq!(rule(&caller, Action::Subscribe, "closed"), "no_grant", "a channel without a namespace is in none");
    let all = token("", &[("*", &Action::ALL)]);
    assert_eq!(rule(&all, Action::Subscribe, "elsewhere:a"), "unlisted_namespace", "no grant opens what is not listed");
}

#[test]
fn the_channel_of_one_user_is_that_users_whatever_others_were_granted() {
    let (ann, bob) = (token("ann", &[]), token("bob", &[("*", &[Action::Subscribe]), ("open:*", &[Action::Subscribe])]));
    for channel in ["inbox#ann", "open:inbox#ann", "members:x#ann", "a#bob#ann"] {
        assert_eq!(rule(&ann, Action::Subscribe, channel), "owner", "{channel}");
        assert_eq!(rule(&bob, Action::Subscribe, channel), "not_owner", "{channel}");
        assert_eq!(rule(&token("", &[]), Action::Subscribe, channel), "not_owner", "{channel}");
        assert_eq!(rule(&Caller::Anyone, Action::Subscribe, channel), "no_credential", "{channel}");
    }
    assert_eq!(rule(&ann, Action::Publish, "open:inbox#ann"), "not_owner", "its user listens and does not speak there");
    assert_eq!(rule(&token("bob", &[("inbox#*", &[Action::Subscribe])]), Action::Subscribe, "inbox#ann"), "grant", "unless it says so");
}

#[test]
fn own_channels_are_found_by_template_and_never_reach_others() {
    let ann = token("ann", &[]);
    assert_eq!(rule(&ann, Action::Subscribe, "user:ann"), "own");
    assert_eq!(rule(&ann, Action::History, "user:ann:mail"), "own");
    assert_eq!(rule(&ann, Action::Publish, "user:ann"), "no_grant");
    for channel in ["user:anna", "user:anna:mail", "user:", "user:bob", "user:ann#bob", "user:ann:x#bob"] {
        assert!(!decide(&ann, Action::Subscribe, &name(channel), &policy()).allows(), "{channel}");
    }
    assert_eq!(rule(&token("ann:mail", &[]), Action::Subscribe, "user:ann:mail"), "own", "an exact template is exact");
    assert_eq!(rule(&token("{sub}", &[]), Action::Subscribe, "user:ann"), "no_grant");
}

#[test]
fn a_backend_may_do_what_its_scopes_say_also_where_no_user_may() {
    let caller = backend(&[Action::Publish, Action::Admin], &["orders:*", "news"]);
    assert_eq!(rule(&caller, Action::Publish, "orders:7"), "scope");
    assert_eq!(rule(&caller, Action::Publish, "orders:inbox#ann"), "scope");
    assert_eq!(rule(&caller, Action::Admin, "news"), "scope");
    assert_eq!(rule(&caller, Action::Subscribe, "news"), "no_scope");
    assert_eq!(rule(&caller, Action::Publish, "closed:1"), "no_scope");
    assert_eq!(rule(&caller, Action::Publish, "open:1"), "namespace_anyone", "what anyone may, a backend may");
    assert_eq!(rule(&caller, Action::Subscribe, "members:1"), "no_scope", "a key is no token");
}

#[test]
fn what_is_kept_for_keys_no_token_may_whatever_it_says() {
    let (all, shop) = (token("ann", &[("*", &Action::ALL), ("feed:*", &Action::ALL)]), backend(&Action::ALL, &["feed:*", "locked:*"]));
    for caller in [&all, &token("ann", &[]), &Caller::Anyone, &address("ann", "feed:a")] {
        assert_eq!(rule(caller, Action::Publish, "feed:a"), "only_keys", "{caller:?}");
        assert_ne!(rule(caller, Action::Subscribe, "feed:a"), "only_keys", "it is said of publishing alone: {caller:?}");
    }
    for action in [Action::Subscribe, Action::Publish, Action::History, Action::Presence] {
        assert_eq!(rule(&all, action, "locked:a"), "only_keys");
        assert_eq!(rule(&all, action, "locked:inbox#ann"), "only_keys", "not even the user whose channel it is");
        assert_eq!(rule(&shop, action, "locked:a"), "scope");
    }
    assert_eq!(rule(&backend(&Action::ALL, &["closed:*"]), Action::Publish, "feed:a"), "no_scope", "a key needs its scope");
    assert_eq!(rule(&all, Action::Publish, "closed:a"), "grant", "elsewhere all is as before");
    assert_eq!(rule(&Caller::Everyone, Action::Publish, "locked:a"), "open");
    // Where every namespace keeps it for keys nobody else needs to say where.
    let keys = Permissions { publish: Who::Keys, ..Permissions::default() };
    let policy = Policy { default: keys, ..Policy::default() };
    assert!(!may_somewhere(&all, Action::Publish, &policy) && may_somewhere(&all, Action::Subscribe, &policy));
    assert!(may_somewhere(&shop, Action::Publish, &policy));
}

#[test]
fn unlisted_namespaces_are_as_the_default_where_that_is_said() {
    let mut policy = policy();
    policy.unlisted = true;
    policy.default.subscribe = Who::Anyone;
    assert_eq!(decide(&Caller::Anyone, Action::Subscribe, &name("elsewhere:a"), &policy).name(), "namespace_anyone");
    assert_eq!(decide(&Caller::Anyone, Action::Subscribe, &name("closed:a"), &policy).name(), "no_credential", "a listed one stays closed");
}

#[test]
fn every_rule_has_words_and_says_whether_it_allows() {
    let (pattern, template) = (Pattern::parse("a*").unwrap(), Template::parse("u{sub}").unwrap());
    let Caller::Backend(known) = backend(&[], &[]) else { unreachable!() };
    for rule in [
        Rule::Open,
        Rule::Scope(&known, &pattern),
        Rule::Grant(&pattern),
        Rule::Owner,
        Rule::Own(&template),
        Rule::Namespace(Who::Token),
        Rule::Namespace(Who::Anyone),
        Rule::NoScope(&known),
        Rule::Unlisted,
        Rule::OnlyKeys,
        Rule::NotOwner,
        Rule::NoGrant,
        Rule::NoCredential,
    ] {
        let words = rule.sentence(Action::Publish, &name("a:b"));
        let denies = words.contains("no ") || words.contains("not ") || words.contains("nobody");
        assert_eq!(denies, !rule.allows(), "{words}");
    }
}

/// A signed address that names this user and channel.
fn address(user: &str, channel: &str) -> Caller {
    let grant = super::super::claims::Grant {
        pattern: Pattern::exact(&name(channel)),
        can: [Action::Subscribe, Action::History].into_iter().collect(),
    };
    let (user, grants) = (Some(user.into()), [grant].into());
    Caller::Token(Arc::new(Claims {
        user,
        id: None,
        issued: None,
        signed_by: SignedBy::of(&[]),
        is_address: true,
        between: None,
        grants,
        info: None,
        until: u64::MAX,
    }))
}

#[test]
fn a_signed_address_opens_what_it_names_and_nothing_that_its_user_or_any_token_could_have() {
    let caller = address("ann", "closed:1");
    assert_eq!(rule(&caller, Action::Subscribe, "closed:1"), "grant");
    assert_eq!(rule(&caller, Action::Publish, "closed:1"), "no_grant");
    for channel in ["user:ann", "closed:inbox#ann", "members:a"] {
        assert!(!decide(&caller, Action::Subscribe, &name(channel), &policy()).allows(), "{channel}");
        assert!(!decide(&caller, Action::History, &name(channel), &policy()).allows(), "{channel}");
    }
    assert_eq!(rule(&caller, Action::Publish, "open:a"), "namespace_anyone", "as anybody may");
    assert!(!may_somewhere(&caller, Action::Publish, &Policy::default()));
}

#[test]
fn who_may_somewhere_is_asked_where_and_who_may_nowhere_is_not() {
    let callers = [
        Caller::Everyone,
        Caller::Anyone,
        token("ann", &[]),
        token("", &[]),
        address("ann", "members:a"),
        token("ann", &[("closed:*", &[Action::Publish])]),
        token("ann", &[("locked:*", &[Action::Publish])]),
        backend(&[Action::Publish], &["closed:*"]),
        backend(&[Action::Admin], &["closed:*"]),
    ];
    let channels = ["a", "open:a", "members:a", "closed:a", "user:ann", "closed:a#ann", "feed:a", "locked:a"].map(name);
    for (policy, caller) in callers.iter().flat_map(|caller| [(policy(), caller), (Policy::default(), caller)]) {
        for action in Action::ALL {
            let allows = |channel| decide(caller, action, channel, &policy).allows();
            assert!(may_somewhere(caller, action, &policy) || !channels.iter().any(allows), "{caller:?} {action}");
        }
    }
    assert!(!may_somewhere(&Caller::Anyone, Action::Publish, &Policy::default()));
    assert!(!may_somewhere(&token("ann", &[("a", &[Action::Subscribe])]), Action::Publish, &Policy::default()));
    assert!(!may_somewhere(&backend(&[Action::History], &["*"]), Action::Publish, &Policy::default()));
    assert!(may_somewhere(&Caller::Anyone, Action::Publish, &policy()));
}
