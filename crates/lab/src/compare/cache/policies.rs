//! Which policies are compared.

use headwise_engine::cache::{CacheMethod, CachePolicy, Part, PolicyError};
use headwise_spec::{Value, from_call, from_chain_text, parse_chain};

use super::CompareError;

/// The evicting policies that a suite compares, at every share it keeps.
pub const EVICTING: [&str; 7] = ["streaming", "snapkv", "h2o", "pyramidkv", "tova", "knorm", "expected_attention"];

/// The storage codecs that a suite compares.
pub const CODECS: [&str; 2] = ["int8", "kivi4"];

/// A policy and a codec together, at the first share.
pub const COMPOSITION: &str = "snapkv + int8";

/// Parameters that say how much an evicting policy keeps.
const LIMITS: [&str; 3] = ["budget", "keep", "bytes"];

/// The policies for `caches` (empty: those of the suites), `full` first, each once.
///
/// An evicting policy without a limit of its own is taken at every share of `keeps`. `longest` is the longest context;
/// a budget above it would compare `full` with itself.
pub(super) fn policies(caches: &[String], keeps: &[f64], longest: usize) -> Result<Vec<CachePolicy>, CompareError> {
    if let Some(&keep) = keeps.iter().find(|&&keep| !(keep > 0.0 && keep <= 1.0)) {
        return Err(CompareError::Keep { keep });
    }
    let mut texts: Vec<(&str, &[f64])> = caches.iter().map(|cache| (cache.as_str(), keeps)).collect();
    if caches.is_empty() {
        texts.extend(EVICTING.iter().map(|&evicting| (evicting, keeps)));
        texts.extend(CODECS.iter().map(|&codec| (codec, keeps)));
        texts.push((COMPOSITION, &keeps[..keeps.len().min(1)]));
    }
    let mut policies = vec![CachePolicy::full()];
    for (text, keeps) in texts {
        let named = |source| CompareError::Policy { cache: text.into(), source };
        for policy in at_every_share(text, keeps).map_err(named)? {
            policy.check(longest).map_err(named)?;
            if policies.iter().all(|other| other.to_string() != policy.to_string()) {
                policies.push(policy);
            }
        }
    }
    Ok(policies)
}

/// The policy `text`, or one per share of `keeps` if something in it evicts and says not how much.
fn at_every_share(text: &str, keeps: &[f64]) -> Result<Vec<CachePolicy>, PolicyError> {
    // Read once for its errors, which point into the text as it was written.
    from_chain_text::<CacheMethod>(text).map_err(PolicyError::Spec)?;
    let chain = parse_chain(text).map_err(PolicyError::Spec)?;
    let open: Vec<usize> = (0..chain.0.len()).filter(|&index| lacks_limit(&chain.0[index])).collect();
    if open.is_empty() || keeps.is_empty() {
        return Ok(vec![CachePolicy::parse(text)?]);
    }
    let at = |&keep: &f64| {
        let mut chain = chain.clone();
        for &index in &open {
            let call = chain.0[index].clone();
            chain.0[index] = call.with("keep", share(keep));
        }
        CachePolicy::parse(&chain.to_string())
    };
    keeps.iter().map(at).collect()
}

fn lacks_limit(call: &headwise_spec::Call) -> bool {
    let cuts = |method: CacheMethod| matches!(method.part(), Part::Evictor(_) | Part::Filter(_));
    from_call::<CacheMethod>(call).is_ok_and(cuts) && LIMITS.iter().all(|limit| !call.args.contains_key(*limit))
}

fn share(keep: f64) -> Value {
    Value::from(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(caches: &[&str], keeps: &[f64]) -> Vec<String> {
        let caches: Vec<String> = caches.iter().map(|&cache| cache.into()).collect();
        policies(&caches, keeps, 4096).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn open_policies_are_taken_at_every_share() {
        assert_eq!(
            texts(&["snapkv", "f32", "streaming(budget=64) + bf16", "snapkv(window=16) + f32"], &[0.5, 0.25]),
            [
                "full",
                "snapkv(keep=0.5)",
                "snapkv(keep=0.25)",
                "f32",
                "streaming(budget=64) + bf16",
                "snapkv(window=16, keep=0.5) + f32",
                "snapkv(window=16, keep=0.25) + f32",
            ]
        );
    }

    #[test]
    fn full_is_there_once_and_first() {
        assert_eq!(texts(&["snapkv(keep=0.5)", "full", "snapkv(keep=0.50)"], &[0.5]), ["full", "snapkv(keep=0.5)"]);
    }

    #[test]
    fn the_default_has_every_policy_at_every_share() {
        let all = texts(&[], &[0.25, 0.1]);
        assert_eq!(all.len(), 1 + 2 * EVICTING.len() + CODECS.len() + 1, "{all:?}");
        assert!(all.contains(&"tova(keep=0.1)".to_owned()) && all.contains(&"snapkv(keep=0.25) + int8".to_owned()));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |cache: &str, keeps: &[f64]| policies(&[cache.into()], keeps, 4096).unwrap_err().to_string();
        let unknown = error("snapvk", &[0.5]);
        assert!(unknown.contains("snapvk") && unknown.contains("streaming") && unknown.contains("snapkv"), "{unknown}");
        assert!(error("snapkv(windw=3)", &[0.5]).contains("window"));
        assert!(error("snapkv(budget=0)", &[0.5]).contains("at least 1"));
        assert!(error("snapkv(budget=5000)", &[0.5]).contains("4096"));
        assert!(error("snapkv", &[1.5]).contains("--keep 1.5"));
        assert!(error("snapkv", &[]).contains("exactly one of"));
    }
}
