//! I20, a survey of compressing transformers: twenty techniques, each with an identity that it must satisfy and a number for what it costs.
//! arXiv:2307.07982.

mod grids;
mod running;
mod students;
mod tiny;
mod zeros;

use tiny::Tiny;

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment =
    Experiment { id: "I20", claims: &CLAIMS, seconds: 120, source: include_str!("i20.rs"), run };

/// A technique: what is true of it by definition, and what it costs.
struct Technique {
    identity: Claim,
    cost: Claim,
    measure: fn(&Tiny) -> [Measured; 2],
}

/// What a technique must satisfy: a number that is at most `threshold`.
const fn identity(text: &'static str, threshold: f64) -> Claim {
    Claim { text, direction: Direction::AtMost, threshold }
}

/// What a technique costs: a number that is at most `threshold`.
const fn cost(text: &'static str, threshold: f64) -> Claim {
    Claim { text, direction: Direction::AtMost, threshold }
}

/// The survey's twenty.
const TECHNIQUES: [Technique; 20] = [
    Technique {
        identity: identity("soft targets: the loss in nats of a student that is its teacher", 1e-5),
        cost: cost(
            "soft targets: perplexity of a student (4 layers of 96 channels, 27 % of the weights of the model that comes with the program) \
             after 120 steps with it as teacher, in that without one",
            1.0,
        ),
        measure: students::soft_targets,
    },
    Technique {
        identity: identity(
            "hidden states: the distance of a teacher's states from themselves, and from twice themselves less one",
            1e-5,
        ),
        cost: cost("hidden states: perplexity of the same student, in that without a teacher", 1.0),
        measure: students::hidden_states,
    },
    Technique {
        identity: identity(
            "magnitude: zeros of any matrix after any of 6 steps that are not 0.75 (1 - (1 - t)^3) of its weights",
            0.0,
        ),
        cost: cost(
            "magnitude: percent of perplexity lost with half of the weights of the layers zero, over 40 steps of both",
            100.0,
        ),
        measure: zeros::magnitude,
    },
    Technique {
        identity: identity(
            "movement: zeros of any matrix after any of 6 steps that are not 0.6 (1 - (1 - t)^3) of its weights",
            0.0,
        ),
        cost: cost(
            "movement: percent of perplexity lost by a student with half of the weights of its layers zero, over 120 steps of both",
            100.0,
        ),
        measure: zeros::movement,
    },
    Technique {
        identity: identity("2:4: groups of four of which not exactly the two largest stay, by magnitude", 0.0),
        cost: cost(
            "2:4: percent of perplexity lost by wanda(keep_of=[2, 4]), half of the weights of the layers",
            100.0,
        ),
        measure: zeros::two_of_four,
    },
    Technique {
        identity: identity("heads: largest error of the gradient of a gate, against a finite difference", 1e-3),
        cost: cost("heads: percent of perplexity lost without 1 of 12 key-value heads and its 3 query heads", 100.0),
        measure: zeros::heads,
    },
    Technique {
        identity: identity(
            "layers: largest difference of the scores of a model without a layer and of one that skips it",
            1e-6,
        ),
        cost: cost("layers: percent of perplexity lost without 1 of 6 layers", 100.0),
        measure: zeros::layers,
    },
    Technique {
        identity: identity(
            "tokens: largest difference of the scores when all tokens stay (uncomp_stages(keep=1)) from full",
            1e-6,
        ),
        cost: cost(
            "tokens: percent of perplexity lost after a prompt of 1,024 tokens of which the last layers read a quarter",
            100.0,
        ),
        measure: zeros::tokens,
    },
    Technique {
        identity: identity(
            "wanda: weights of a projection that are zero although |w| ||x|| of one that is not is less",
            0.0,
        ),
        cost: cost("wanda: percent of perplexity lost with half of the weights of the layers zero", 100.0),
        measure: zeros::wanda,
    },
    Technique {
        identity: identity(
            "8 bits a channel: largest error of a weight, in halves of a 127th of its channel's largest",
            1.01,
        ),
        cost: cost("8 bits a channel: percent of perplexity lost, with 8.5 bits a weight in the file", 0.5),
        measure: grids::per_channel,
    },
    Technique {
        identity: identity("SmoothQuant: largest difference of the scores before anything is rounded", 1e-5),
        cost: cost("SmoothQuant: percent of perplexity lost with 8 bits a channel, 8.5 a weight in the file", 0.5),
        measure: grids::smoothquant,
    },
    Technique {
        identity: identity(
            "GPTQ: bytes of the file that differ from round-to-nearest when its Hessian is the identity",
            0.0,
        ),
        cost: cost("GPTQ: percent of perplexity lost with 3 bits in groups of 32; baseline: round-to-nearest", 100.0),
        measure: grids::gptq,
    },
    Technique {
        identity: identity("quantisation-aware: weights of the result that rounding once more changes", 0.0),
        cost: cost(
            "quantisation-aware: percent of perplexity lost with 3 bits in groups of 32, over 40 steps of both; baseline: rounding what was learned free",
            100.0,
        ),
        measure: grids::quantisation_aware,
    },
    Technique {
        identity: identity(
            "integers: largest errors of e^x and GELU, in the 0.0022 and 0.0182 that the published polynomials are off; a thousandth is left for \
             rounding to codes",
            1.001,
        ),
        cost: cost(
            "integers: percent of perplexity lost, the more of softmax in the model and GELU (8 bits) in a student that has it",
            5.0,
        ),
        measure: running::integers,
    },
    Technique {
        identity: identity(
            "powers of two: largest factor between a weight of attention and its power",
            std::f64::consts::SQRT_2 + 1e-6,
        ),
        cost: cost("powers of two: percent of perplexity lost with weights of attention in 4 bits", 5.0),
        measure: running::powers_of_two,
    },
    Technique {
        identity: identity(
            "supernet: largest difference of the scores of a part alone and in the supernet, of 8 parts",
            1e-5,
        ),
        cost: cost(
            "supernet: perplexity of the part with at most half of the weights of the layers that a search by evolution finds, in the mean \
             of 8 drawn at random",
            1.0,
        ),
        measure: students::supernet,
    },
    Technique {
        identity: identity(
            "shared weights: largest difference of the scores from those of the model with copies",
            1e-6,
        ),
        cost: cost(
            "shared weights: percent of perplexity lost by a student whose 4 layers are one, with 60 % of the weights",
            25.0,
        ),
        measure: students::shared,
    },
    Technique {
        identity: identity(
            "narrow vectors: largest difference of the token vectors from the product of both matrices",
            1e-6,
        ),
        cost: cost(
            "narrow vectors: percent of perplexity lost by a student with 32 channels of 96, with 69 % of the weights",
            25.0,
        ),
        measure: students::factorised,
    },
    Technique {
        identity: identity(
            "early exit: largest difference of the scores of who always leaves from the model without the other layers",
            1e-6,
        ),
        cost: Claim {
            text: "early exit: percent of 256 tokens after which the likeliest is the same, with a confidence of 0.9 from layer 2 of 6 on",
            direction: Direction::AtLeast,
            threshold: 95.0,
        },
        measure: running::early_exit,
    },
    Technique {
        identity: identity(
            "roofline: error of the rate at the roof, against min(peak, intensity times bandwidth)",
            1e-12,
        ),
        cost: Claim {
            text: "roofline: percent of the roof that reading 512 tokens reaches; above 100 where data stay in caches",
            direction: Direction::AtLeast,
            threshold: 1.0,
        },
        measure: running::roofline,
    },
];

const COUNT: Claim = Claim {
    text: "techniques of the survey's 20 that run and satisfy their identity",
    direction: Direction::AtLeast,
    threshold: 18.0,
};

/// How many there are, then the identity and the cost of each.
const CLAIMS: [Claim; 1 + 2 * TECHNIQUES.len()] = {
    let mut claims = [COUNT; 1 + 2 * TECHNIQUES.len()];
    let mut index = 0;
    while index < TECHNIQUES.len() {
        claims[1 + 2 * index] = TECHNIQUES[index].identity;
        claims[2 + 2 * index] = TECHNIQUES[index].cost;
        index += 1;
    }
    claims
};

fn run(seed: u64) -> Vec<Measured> {
    let tiny = Tiny::new(seed);
    let found: Vec<[Measured; 2]> = TECHNIQUES.iter().map(|technique| (technique.measure)(&tiny)).collect();
    let holds = |(technique, [identity, cost]): &(&Technique, &[Measured; 2])| {
        let Claim { direction, threshold, .. } = technique.identity;
        direction.holds(identity.value, threshold) && cost.value.is_finite()
    };
    let count = TECHNIQUES.iter().zip(&found).filter(holds).count();
    std::iter::once(Measured::alone(count as f64)).chain(found.into_iter().flatten()).collect()
}
