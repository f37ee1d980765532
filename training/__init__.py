"""How judgement becomes weights. Imports core and storage; torch and transformers only inside functions."""
