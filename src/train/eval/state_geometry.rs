//! Owns: the geometry of recycled states: norms, cosine similarity, change between passes.
//! Must not know: where the states come from, what they decode to.
//! Invariant: results stay on the device, as short vectors for one readback.

use burn::tensor::{Tensor, TensorData};

/// Returns the Euclidean norm of each row of `values` `[N, D]`, as `[N]`.
pub(in crate::train) fn row_norms(values: Tensor<2>) -> Tensor<1> {
    values.square().sum_dim(1).sqrt().squeeze_dim(1)
}

/// Returns `‖after − before‖ / ‖after‖` for each row, as `[N]`. Both inputs are `[N, D]`.
pub(in crate::train) fn relative_change(before: Tensor<2>, after: Tensor<2>) -> Tensor<1> {
    row_norms(after.clone() - before) / (row_norms(after) + EPSILON)
}

/// Returns the mean cosine between two states of a row, for rows with at least two of the states `[N, D]`.
/// `counts` has the number of states of each row. `None` if no row has two.
pub(in crate::train) fn mean_pair_cosines(states: Tensor<2>, counts: &[usize]) -> Option<Tensor<1>> {
    let [n, _] = states.dims();
    let device = states.device();
    let (mut member, mut pairs, mut from) = (Vec::new(), Vec::new(), 0);
    for &count in counts {
        if count > 1 {
            member.extend((0..n).map(|at| f32::from(u8::from((from..from + count).contains(&at)))));
            pairs.push([count as f32, (count * (count - 1)) as f32]);
        }
        from += count;
    }
    let b = pairs.len();
    if b == 0 {
        return None;
    }
    let units = states.clone() / (row_norms(states).unsqueeze_dim(1) + EPSILON);
    let sums = Tensor::<2>::from_data(TensorData::new(member, [b, n]), &device).matmul(units);
    let pairs = Tensor::<2>::from_data(TensorData::new(pairs.concat(), [b, 2]), &device);
    let (states, pairs) = (pairs.clone().narrow(1, 0, 1), pairs.narrow(1, 1, 1));
    // |Σu|² counts each pair twice, and each state with itself.
    Some(((sums.square().sum_dim(1) - states) / pairs).squeeze_dim(1))
}

/// Avoids a division by zero for a state of norm zero.
const EPSILON: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn rows(values: &[[f32; 2]]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.concat(), [values.len(), 2]), &Device::flex())
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    #[test]
    fn cosines_are_means_over_the_pairs_of_a_row() {
        let states = rows(&[[1.0, 0.0], [0.0, 5.0], [9.0, 9.0], [3.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]);
        let found = values(mean_pair_cosines(states.clone(), &[2, 1, 3]).unwrap());
        assert_eq!(found.len(), 2, "a lone state has no pair");
        assert!(found[0].abs() < 1e-6 && (found[1] + 1.0 / 3.0).abs() < 1e-6, "{found:?}");
        assert!(mean_pair_cosines(rows(&[[1.0, 2.0]]), &[1]).is_none());
    }

    #[test]
    fn change_is_relative_to_what_comes_after() {
        let found = values(relative_change(rows(&[[3.0, 0.0], [1.0, 1.0]]), rows(&[[3.0, 4.0], [1.0, 1.0]])));
        assert!((found[0] - 0.8).abs() < 1e-6 && found[1] == 0.0, "{found:?}");
    }
}
