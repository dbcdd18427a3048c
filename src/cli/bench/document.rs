//! What was measured, for programs: one JSON object with every figure of every run.

use serde_json::{Map, Value, json};

use super::figures::{
    Kind, QUANTILES, client_cpu_us, hit_ratio, latency_us, median, rate, server_cpu_us,
};
use super::options::{Plan, Span};
use super::report::{Series, ratio, shape};
use super::run::Round;

/// The object, with its line end.
pub(super) fn document(plan: &Plan, all: &[Series<'_>]) -> String {
    let load = &plan.load;
    let (seconds, requests) = match load.span {
        Span::Time(time) => (Some(time.as_secs_f64()), None),
        Span::Requests(requests) => (None, Some(requests)),
        Span::Trace => (None, None),
    };
    let is_ok = all
        .iter()
        .all(|series| series.is_clean() && series.rounds.iter().all(|round| round.end.is_none()));
    let mut object = json!({
        "ok": is_ok,
        "load": {
            "description": shape(plan),
            "connections": load.connections,
            "threads": load.threads,
            "pipeline": load.depth,
            "keys_per_get": load.keys_per_get,
            "keys": load.matter.keys(),
            "rate": load.rate,
            "ttl": load.ttl,
            "seconds": seconds,
            "requests": requests,
            "warm_up_seconds": load.warm_up.as_secs_f64(),
            "seed": load.seed,
        },
        "servers": all.iter().map(server).collect::<Vec<_>>(),
    });
    if all.len() > 1 {
        object["ratios"] = ratios(all);
    }
    format!("{object}\n")
}

fn server(series: &Series<'_>) -> Value {
    let target = series.target;
    json!({
        "address": target.address.to_string(),
        "protocol": target.protocol.to_string(),
        "version": series.version,
        "pid": target.pid,
        "median": figures(|figure| median(&series.rounds, figure)),
        "rounds": series.rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

fn round(round: &Round) -> Value {
    let tally = &round.tally;
    let mut object = figures(|figure| figure(round));
    for (name, value) in [
        ("seconds", json!(round.seconds)),
        ("requests", json!(tally.requests())),
        ("gets", json!(tally.gets)),
        ("sets", json!(tally.sets)),
        ("hits", json!(tally.hits)),
        ("misses", json!(tally.misses)),
        ("bytes_received", json!(tally.bytes_in)),
        ("bytes_sent", json!(tally.bytes_out)),
        ("wrong", json!(tally.wrong)),
        ("errors", json!(tally.errors)),
        ("unanswered", json!(tally.unanswered)),
        ("unsent", json!(tally.unsent)),
        ("ended_by", json!(round.end.as_ref().map(|end| &end.message))),
    ] {
        object.insert(name.into(), value);
    }
    let complaint = |(words, count): &(String, u64)| json!({"count": count, "what": words});
    let complaints: Vec<Value> = tally.complaints.iter().map(complaint).collect();
    object.insert("complaints".into(), complaints.into());
    object.into()
}

type Figure<'f> = &'f dyn Fn(&Round) -> Option<f64>;

/// Every figure by its name, taken as `take` says.
fn figures(take: impl Fn(Figure<'_>) -> Option<f64>) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: String, figure: Figure<'_>| {
        object.insert(name, take(figure).map(rounded).into());
    };
    put("requests_per_second".into(), &|it| rate(it, Kind::All));
    put("gets_per_second".into(), &|it| rate(it, Kind::Get));
    put("sets_per_second".into(), &|it| rate(it, Kind::Set));
    put("hit_ratio".into(), &hit_ratio);
    put("server_cpu_us_per_request".into(), &server_cpu_us);
    put("client_cpu_us_per_request".into(), &client_cpu_us);
    for kind in [Kind::Get, Kind::Set, Kind::All] {
        for (name, quantile) in QUANTILES {
            let name = format!("{}_{}_us", kind.name(), name.replace('.', "_"));
            put(name, &|it| latency_us(it, kind, quantile));
        }
    }
    object
}

/// The first server's medians divided by the second's.
fn ratios(all: &[Series<'_>]) -> Value {
    let ratio_of = |figure: Figure<'_>| {
        let medians: Vec<_> = all.iter().map(|series| median(&series.rounds, figure)).collect();
        ratio(&medians)
    };
    figures(ratio_of).into()
}

/// Enough digits for any use.
fn rounded(figure: f64) -> f64 {
    (figure * 1e4).round() / 1e4
}
