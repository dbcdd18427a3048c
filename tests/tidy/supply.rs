//! What the daemon is built from: the rules of `deny.toml`, held without cargo-deny and without a network, and
//! the list of parts that goes into the package, in `CycloneDX`'s form.
//!
//! `LITECACHED_BLESS=1 cargo test --test tidy supply` writes the list anew.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{read, report, root};

const PARTS: &str = "assets/litecached.cdx.json";

/// What cargo knows of the graph.
struct Graph {
    packages: BTreeMap<String, Value>,
    /// Each package's dependencies, those for development left out.
    needs: BTreeMap<String, BTreeSet<String>>,
    root: String,
}

impl Graph {
    fn read(rules: &Value) -> Self {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
        for target in texts(&rules["graph"]["targets"]) {
            cargo.args(["--filter-platform", &target]);
        }
        let output = cargo.current_dir(root()).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let known: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let id = |value: &Value| value.as_str().expect("an id").to_owned();
        let all = |value: &Value| value.as_array().expect("a list").clone();
        let packages =
            all(&known["packages"]).into_iter().map(|package| (id(&package["id"]), package));
        let needs = all(&known["resolve"]["nodes"]).into_iter().map(|node| {
            let is_needed =
                |dep: &&Value| all(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let deps = all(&node["deps"]);
            (id(&node["id"]), deps.iter().filter(is_needed).map(|dep| id(&dep["pkg"])).collect())
        });
        Self {
            packages: packages.collect(),
            needs: needs.collect(),
            root: id(&known["resolve"]["root"]),
        }
    }

    /// The daemon, and all it is built from.
    fn parts(&self) -> BTreeSet<&str> {
        let (mut found, mut left) = (BTreeSet::new(), vec![self.root.as_str()]);
        while let Some(id) = left.pop() {
            if found.insert(id) {
                left.extend(self.needs[id].iter().map(String::as_str));
            }
        }
        found
    }
}

fn rules() -> Value {
    toml(&read(&root().join("deny.toml")))
}

/// TOML's tables, lists and texts, and nothing of the rest.
fn toml(text: &str) -> Value {
    fn table(table: &DeTable<'_>) -> Value {
        let entry = |(key, it): (&_, &Spanned<DeValue<'_>>)| {
            let key: &Spanned<Cow<'_, str>> = key;
            (key.get_ref().to_string(), value(it.get_ref()))
        };
        Value::Object(table.iter().map(entry).collect())
    }
    fn value(it: &DeValue<'_>) -> Value {
        match it {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Array(list) => list.iter().map(|one| value(one.get_ref())).collect(),
            DeValue::Table(inner) => table(inner),
            _ => Value::Null,
        }
    }
    table(DeTable::parse(text).expect("it is TOML").get_ref())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// `name` and `version` of a package, as texts.
fn named(package: &Value) -> (&str, &str) {
    let text = |field: &str| package[field].as_str().expect("cargo says it");
    (text("name"), text("version"))
}

#[test]
fn supply_keeps_the_rules() {
    let rules = rules();
    let graph = Graph::read(&rules);
    let allowed = texts(&rules["licenses"]["allow"]);
    let registries = texts(&rules["sources"]["allow-registry"]);
    let denied: Vec<&str> = list(&rules["bans"]["deny"])
        .iter()
        .map(|rule| rule["name"].as_str().expect("a name"))
        .collect();
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, package) in &graph.packages {
        let (name, version) = named(package);
        versions.entry(name).or_default().push(version);
        let license = package["license"].as_str().unwrap_or("none");
        if !is_allowed(license, &allowed) {
            findings.push(format!("{name} {version}: the licence {license} is not in deny.toml"));
        }
        let from_registry = package["source"].as_str().is_some_and(|source| {
            registries.iter().any(|registry| source == format!("registry+{registry}"))
        });
        if !from_registry && *id != graph.root {
            findings.push(format!("{name} {version} comes from {}", package["source"]));
        }
        if denied.contains(&name) {
            findings.push(format!("{name} is not to be here"));
        }
    }
    let mut skipped: BTreeSet<String> = list(&rules["bans"]["skip"])
        .iter()
        .map(|rule| rule["crate"].as_str().expect("name@version").to_owned())
        .collect();
    for (name, versions) in versions {
        let is_skipped = |version: &&&str| {
            let rule = skipped.iter().find(|rule| {
                let (skipped, prefix) = rule.split_once('@').expect("name@version");
                skipped == name && format!("{version}.").starts_with(&format!("{prefix}."))
            });
            rule.cloned()
        };
        let rules: Vec<_> = versions.iter().map(|version| is_skipped(&version)).collect();
        if rules.iter().filter(|rule| rule.is_none()).count() > 1 {
            findings.push(format!("{name} is there as {}", versions.join(" and ")));
        }
        rules.into_iter().flatten().for_each(|rule| {
            skipped.remove(&rule);
        });
    }
    findings.extend(skipped.iter().map(|rule| format!("{rule} is skipped for nothing")));
    report(&findings);
}

/// Whether an SPDX expression can be met. `/` is how `OR` was once written.
fn is_allowed(license: &str, allowed: &[String]) -> bool {
    let license = license.replace('/', " OR ");
    if let Some((before, rest)) = license.split_once('(') {
        let (inside, after) = rest.split_once(')').expect("it is closed");
        let met = if is_allowed(inside, allowed) { "MIT" } else { "none" };
        return is_allowed(&format!("{before}{met}{after}"), allowed);
    }
    let is_met = |one: &str| allowed.iter().any(|known| known == one.trim());
    license.split(" OR ").any(|all| all.split(" AND ").all(is_met))
}

#[test]
fn supply_reads_expressions() {
    let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
    for (license, is) in [
        ("MIT", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("(GPL-2.0 OR GPL-3.0) AND Zlib", false),
        ("none", false),
    ] {
        assert_eq!(is_allowed(license, &allowed), is, "{license}");
    }
}

#[test]
fn supply_is_listed_in_the_package() {
    let graph = Graph::read(&rules());
    let wanted = format!("{:#}\n", parts_list(&graph));
    let path = root().join(PARTS);
    if std::env::var_os("LITECACHED_BLESS").is_some() {
        fs::write(&path, &wanted).expect("the repository can be written");
    }
    let why = format!("{PARTS} is old: LITECACHED_BLESS=1 cargo test --test tidy supply");
    assert!(read(&path) == wanted, "{why}");
    assert!(read(&root().join("Cargo.toml")).contains(PARTS), "the package has {PARTS}");
}

/// `CycloneDX` 1.5, without a time or a number of its own: the same source gives the same list.
fn parts_list(graph: &Graph) -> Value {
    let sums = checksums();
    let reference = |id: &str| {
        let (name, version) = named(&graph.packages[id]);
        format!("pkg:cargo/{name}@{version}")
    };
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for id in graph.parts() {
        let package = &graph.packages[id];
        let (name, version) = named(package);
        if id != graph.root {
            let license = package["license"].as_str().expect("it has one").replace('/', " OR ");
            components.push(json!({
                "type": "library",
                "bom-ref": reference(id),
                "name": name,
                "version": version,
                "purl": reference(id),
                "licenses": [{ "expression": license }],
                "hashes": [{ "alg": "SHA-256", "content": sums[&(name.to_owned(), version.to_owned())] }],
            }));
        }
        let mut needs: Vec<String> = graph.needs[id].iter().map(|id| reference(id)).collect();
        // What a crate compiles in that is no crate.
        if name == "libsqlite3-sys" {
            let sqlite = format!("pkg:generic/sqlite@{}", rusqlite::version());
            components.push(json!({
                "type": "library",
                "bom-ref": sqlite,
                "name": "sqlite",
                "version": rusqlite::version(),
                "purl": sqlite,
                "licenses": [{ "license": { "id": "blessing" } }],
            }));
            needs.push(sqlite);
        }
        if let Some((_, zstd)) = version.split_once("+zstd.") {
            let zstd_ref = format!("pkg:generic/zstd@{zstd}");
            components.push(json!({
                "type": "library",
                "bom-ref": zstd_ref,
                "name": "zstd",
                "version": zstd,
                "purl": zstd_ref,
                "licenses": [{ "expression": "BSD-3-Clause OR GPL-2.0-only" }],
            }));
            needs.push(zstd_ref);
        }
        needs.sort();
        dependencies.push(json!({ "ref": reference(id), "dependsOn": needs }));
    }
    let by_reference = |one: &Value| one["bom-ref"].as_str().unwrap_or_default().to_owned();
    components.sort_by_key(by_reference);
    dependencies.sort_by_key(|one| one["ref"].as_str().unwrap_or_default().to_owned());
    let (name, version) = named(&graph.packages[&graph.root]);
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "bom-ref": reference(&graph.root),
            "name": name,
            "version": version,
            "purl": reference(&graph.root),
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        } },
        "components": components,
        "dependencies": dependencies,
    })
}

/// The SHA-256 sums of the crates' archives, by name and version.
fn checksums() -> BTreeMap<(String, String), String> {
    let lock = toml(&read(&root().join("Cargo.lock")));
    let packages = list(&lock["package"]).iter();
    let text = |package: &Value, field: &str| package[field].as_str().map(str::to_owned);
    packages
        .filter_map(|package| {
            let name = (text(package, "name")?, text(package, "version")?);
            Some((name, text(package, "checksum")?))
        })
        .collect()
}
