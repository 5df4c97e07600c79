//! How many slots each layer gets of those there are: in proportion to what it is expected to need.

/// Slots for the layers that are still to come, of which `demand` is expected.
///
/// If all fit, each gets what it needs. Else the next layer does, as far as it can, for its experts have the least time to come; what is
/// left goes to the others in proportion to their demand (largest remainders, earlier layers first among equals).
pub fn allocate(demand: &[usize], slots: usize) -> Vec<usize> {
    if demand.iter().sum::<usize>() <= slots {
        return demand.to_vec();
    }
    let Some((&next, later)) = demand.split_first() else { return Vec::new() };
    let next = next.min(slots);
    let mut shares = vec![next];
    shares.extend(in_proportion(later, slots - next));
    shares
}

/// `slots` in proportion to `demand`, whose sum is not below.
fn in_proportion(demand: &[usize], slots: usize) -> Vec<usize> {
    let sum = demand.iter().sum::<usize>().max(1);
    let mut shares: Vec<usize> = demand.iter().map(|demand| demand * slots / sum).collect();
    let mut order: Vec<usize> = (0..demand.len()).collect();
    order.sort_by_key(|&layer| std::cmp::Reverse(demand[layer] * slots % sum));
    let left = slots.min(sum) - shares.iter().sum::<usize>();
    order.into_iter().take(left).for_each(|layer| shares[layer] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_experts_against_two_get_slots_of_three_to_two() {
        assert_eq!(allocate(&[4, 3, 2], 9), [4, 3, 2]);
        assert_eq!(allocate(&[4, 6, 4], 9), [4, 3, 2]);
        assert_eq!(allocate(&[4, 30, 20], 14), [4, 6, 4]);
        assert_eq!(allocate(&[7, 3, 2], 5), [5, 0, 0]);
        assert!(allocate(&[], 5).is_empty());
    }

    proptest! {
        #[test]
        fn no_layer_gets_more_than_it_needs_and_no_slot_is_left(
            demand in prop::collection::vec(0usize..20, 0..9), slots in 0usize..60,
        ) {
            let shares = allocate(&demand, slots);
            prop_assert!(shares.iter().zip(&demand).all(|(share, demand)| share <= demand));
            prop_assert_eq!(shares.iter().sum::<usize>(), slots.min(demand.iter().sum()));
        }
    }
}
