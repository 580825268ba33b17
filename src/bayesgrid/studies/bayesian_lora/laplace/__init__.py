"""Laplace approximations of the posterior over adapter weights: exact in the dual, and Kronecker-factored.

``softmax_curvature`` and ``jacobian`` say what is summed, ``dual`` and ``kronecker`` are the two posteriors,
``evidence`` finds the prior precision, ``gaussian_logits`` turns the predicted Gaussian over logits into probabilities
and draws, and ``adapter_offsets`` makes adapters of weight draws. Nothing here knows a language model: what comes in
are Jacobian rows.
"""
