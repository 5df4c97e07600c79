fn cpu() -> u64 {
    std::fs::read_dir("/proc/self/task").unwrap().map(|t| std::fs::read_to_string(t.unwrap().path().join("schedstat")).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
use headwise_engine::cache::CachePolicy;
use headwise_engine::Engine;
use headwise_models::decoder::Weights;
#[test]
fn speed() {
    let path = headwise_models::pull::resolve("smollm2-135m").unwrap();
    let engine = Engine::from_gguf(&path, Weights::Stored, 1).unwrap();
    let tokens: usize = std::env::var("T").map_or(1024, |t| t.parse().unwrap());
    let ids: Vec<u32> = (0..tokens as u32).map(|i| 1000 + (i * 7919) % 30000).collect();
    for name in ["full", "random(keep=0.5)", "streaming(keep=0.5)", "knorm(keep=0.5)", "knorm(keep=0.5, slack=0)", "h2o(keep=0.5)", "h2o(keep=0.5,slack=0)", "tova(keep=0.5)", "tova(keep=0.5, slack=0)", "snapkv(keep=0.5)", "pyramidkv(keep=0.5)", "keydiff(keep=0.5)", "expected_attention(keep=0.5)", "full"] {
        let mut s = engine.sequence(&CachePolicy::parse(name).unwrap()).unwrap();
        let start = cpu();
        engine.prefill(&mut s, &ids, |_| {}).unwrap();
        let prefill = (cpu() - start) as f64 / 1e9;
        let mut times: Vec<f64> = ids[..96].iter().map(|&id| { let t = cpu(); engine.step(&mut s, id).unwrap(); (cpu() - t) as f64 / 1e6 }).collect();
        let sum: f64 = times.iter().sum::<f64>() / 96.0;
        let mut worst = times.clone(); worst.sort_by(f64::total_cmp);
        times.sort_by(f64::total_cmp);
        println!("{name:32} prefill {prefill:.2} s, step mean {sum:.2} ms, min {:.2}, median {:.2}, top {:.1} {:.1} {:.1} {:.1}", times[0], times[48], worst[92], worst[93], worst[94], worst[95]);
    }
}
