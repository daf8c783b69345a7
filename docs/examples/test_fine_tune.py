def test_one_job_although_the_answer_gets_lost(emulator, run_dag):
    emulator.fault("lose_answer", "POST", "/fine_tuning/jobs")
    run = run_dag("dags/fine_tune.py", data="train.jsonl")
    assert run.state == "success", run.log
    assert run.xcom("wait", "fine_tuned_model").startswith("ft:")
    assert len(emulator.jobs()) == 1
