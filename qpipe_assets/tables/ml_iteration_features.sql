-- One row for each energy evaluation (spec/features G). Written in the common subset of DuckDB and Spark SQL, with
-- explicit casts; the sources hold the rows of one batch. Rows without the four guarded columns are dropped (G2).
with joined as (
    select
        i.experiment_id,
        i.iteration_step,
        m.molecule_name,
        cast(size(m.atom_symbols) as int) as num_atoms,
        v.num_qubits,
        m.charge,
        m.multiplicity,
        a.basis_set,
        v.optimizer,
        a.ansatz_name as ansatz_type,
        v.ansatz_reps,
        a.init_strategy,
        v.seed,
        v.default_shots,
        i.iteration_energy as energy,
        i.energy_std_dev as energy_std,
        i.energy_delta,
        i.parameter_delta_norm,
        i.cumulative_min_energy,
        v.total_iterations,
        v.minimum_energy as final_energy,
        v.success as converged,
        p.vqe_time,
        p.total_time,
        i.processing_date,
        i.molecule,
        i.processing_batch_id,
        v.total_energy,
        v.fci_energy,
        v.energy_error_mha,
        v.chemically_accurate,
        v.valid
    from vqe_iterations i
    left join vqe_results v on i.experiment_id = v.experiment_id
    left join ansatz_info a on i.experiment_id = a.experiment_id
    left join molecules m on i.experiment_id = m.experiment_id
    left join performance_metrics p on i.experiment_id = p.experiment_id
    where m.molecule_name is not null
        and v.optimizer is not null
        and a.basis_set is not null
        and v.num_qubits is not null
),
trajectory as (
    select
        *,
        coalesce(
            cumulative_min_energy < lag(cumulative_min_energy) over (partition by experiment_id order by iteration_step),
            true
        ) as is_new_minimum,
        first_value(energy) over (partition by experiment_id order by iteration_step) as first_energy,
        avg(energy) over (
            partition by experiment_id order by iteration_step rows between 4 preceding and current row
        ) as energy_moving_avg_5,
        stddev_samp(energy) over (
            partition by experiment_id order by iteration_step rows between 4 preceding and current row
        ) as energy_moving_std_5,
        sum(parameter_delta_norm) over (
            partition by experiment_id order by iteration_step rows between unbounded preceding and current row
        ) as parameter_path
    from joined
),
plateaus as (
    select
        *,
        sum(case when is_new_minimum then 1 else 0 end) over (
            partition by experiment_id order by iteration_step rows between unbounded preceding and current row
        ) as minima_so_far
    from trajectory
)
select
    experiment_id,
    iteration_step,
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
    energy,
    energy_std,
    energy_delta,
    parameter_delta_norm,
    cumulative_min_energy,
    cast(iteration_step as double) / cast(total_iterations as double) as relative_iteration,
    (first_energy - cumulative_min_energy) / cast(iteration_step as double) as energy_improvement_rate,
    case
        when cumulative_min_energy <> 0 then (energy - cumulative_min_energy) / abs(cumulative_min_energy)
        else cast(0 as double)
    end as normalized_energy,
    is_new_minimum,
    cast(
        row_number() over (partition by experiment_id, minima_so_far order by iteration_step) - 1 as int
    ) as steps_since_improvement,
    energy_moving_avg_5,
    energy_moving_std_5,
    parameter_path / cast(iteration_step as double) as mean_param_change,
    total_iterations,
    final_energy,
    converged,
    max(case when is_new_minimum then iteration_step end) over (partition by experiment_id) as convergence_iteration,
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
from plateaus
