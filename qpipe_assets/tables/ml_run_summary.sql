-- One row for each run (spec/features G). Written in the common subset of DuckDB and Spark SQL, with explicit casts;
-- ml_iteration_features holds the rows of one batch.
with ranked as (
    select
        *,
        row_number() over (partition by experiment_id order by iteration_step) as from_start,
        row_number() over (partition by experiment_id order by iteration_step desc) as from_end
    from ml_iteration_features
)
select
    experiment_id,
    molecule_name,
    num_atoms,
    num_qubits,
    charge,
    multiplicity,
    basis_set,
    optimizer,
    ansatz_type,
    ansatz_reps,
    init_strategy,
    seed,
    default_shots,
    total_iterations,
    final_energy,
    converged,
    convergence_iteration,
    vqe_time,
    total_time,
    avg(energy_delta) as mean_energy_delta,
    stddev_samp(energy_delta) as std_energy_delta,
    min(energy) as min_energy,
    max(energy) as max_energy,
    max(energy) - min(energy) as energy_range,
    avg(parameter_delta_norm) as mean_param_delta_norm,
    stddev_samp(parameter_delta_norm) as std_param_delta_norm,
    sum(parameter_delta_norm) as total_param_distance,
    cast(sum(case when is_new_minimum then 1 else 0 end) as bigint) as num_new_minima,
    max(steps_since_improvement) as longest_plateau,
    cast(sum(case when is_new_minimum then 1 else 0 end) as double) / cast(total_iterations as double)
        as improvement_ratio,
    processing_date,
    avg(case when from_start <= 10 then energy end) as first_10_mean_energy,
    -- Through a single point there is no slope: DuckDB would call it NaN, Spark null.
    case
        when max(case when from_start <= 10 then iteration_step end) > min(iteration_step)
            then regr_slope(
                case when from_start <= 10 then energy end,
                case when from_start <= 10 then cast(iteration_step as double) end
            )
    end as first_10_energy_slope,
    avg(case when from_end <= 10 then energy end) as last_10_mean_energy,
    vqe_time / cast(total_iterations as double) as time_per_iteration,
    molecule,
    processing_batch_id,
    total_energy,
    fci_energy,
    energy_error_mha,
    chemically_accurate,
    valid
from ranked
group by
    experiment_id,
    molecule_name,
    num_atoms,
    num_qubits,
    charge,
    multiplicity,
    basis_set,
    optimizer,
    ansatz_type,
    ansatz_reps,
    init_strategy,
    seed,
    default_shots,
    total_iterations,
    final_energy,
    converged,
    convergence_iteration,
    vqe_time,
    total_time,
    processing_date,
    molecule,
    processing_batch_id,
    total_energy,
    fci_energy,
    energy_error_mha,
    chemically_accurate,
    valid
